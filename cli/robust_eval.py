"""What `coretune robust eval` does with its options: evaluations of one model, made or found, shown and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from coretune_cli.headway import headway_bar
from coretune_cli.output import console, note, show, show_json
from coretune_cli.robust_options import numbers
from coretune_cli.robust_subject import ForeignModel, Subject
from coretune_cli.robust_transfer import NONE, Transfer, not_tested, tested, transfer_spec, verdict_of
from coretune_cli.robust_view import Found, view

if TYPE_CHECKING:
    from coretune.results.record import Evaluation
    from coretune.spec.run import EvalSpec
    from coretune.tuning.context import Context


def foreign_model(
    checkpoint: Path,
    arch: str,
    data: str,
    path: Path | None,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    context: Context,
) -> ForeignModel:
    """Returns a model that coretune did not train, with the options of its own that were given."""
    from coretune.runs.foreign import open_foreign
    from coretune_cli.chosen import choose

    constants = {"mean": numbers("--mean", mean), "std": numbers("--std", std)}
    chosen = choose(data, path, download=False)
    options = {**chosen.ref.params, **({"image_size": image_size} if image_size is not None else {})}
    place = None if chosen.path is None else str(chosen.path)
    title = f"{checkpoint.name}, {arch} on {data}"
    return ForeignModel(
        title,
        lambda: open_foreign(checkpoint, arch, chosen.ref.name, context, path=place, data=options, **constants),
        context,
    )


def evaluated(subject: Subject, name: str, spec: EvalSpec, save_adversarial: Path | None) -> Found:
    """Returns an evaluation: as it is recorded, or made now."""
    arrays_to = save_adversarial if name == "attack" else None
    recorded = subject.recorded(spec)
    if recorded is not None and arrays_to is None:
        return Found(name, recorded, recorded=True)
    images = "all test images" if spec.limit is None else f"up to {spec.limit:,} test images"
    again = ", again for its images" if recorded is not None else ""
    with headway_bar(f"{name} on {images}{again}") as tell:
        return Found(name, subject.evaluate(spec, arrays_to=arrays_to, tell=tell), recorded=False)


def transferred(subject: Subject, attack: EvalSpec, words: str | None, arch: str | None) -> Transfer:
    """Returns what images of another model do to this one: as it is recorded, or made now."""
    if words == NONE:
        return not_tested("--transfer-from none")
    surrogate = subject.surrogate(words, arch)
    if surrogate is None:
        return not_tested(f"{subject.alone}; --transfer-from names another model of the same images")
    if words is None:
        note(f"transfer from {surrogate.title}; --transfer-from names another", style="dim")
    spec = transfer_spec(subject.catalog, attack, surrogate)
    recorded = subject.recorded(spec)
    if recorded is not None:
        return tested(surrogate, recorded, recorded=True)
    with headway_bar(f"transfer from {surrogate.title}, on up to {spec.limit} test images") as tell:
        return tested(surrogate, subject.evaluate(spec, surrogate=surrogate, tell=tell), recorded=False)


def report(subject: Subject, found: list[Found], *, as_json: bool) -> None:
    """Prints what was found, and the verdict."""
    if as_json:
        value = {**subject.about, "notes": list(subject.notes)}
        value["evaluations"] = [_plain(label, made, recorded) for label, made, recorded in _made(found)]
        for each in found:
            if each.label == "attack":
                value["verdict"] = verdict_of(each.evaluation, each.transfer)
        show_json(value)
        return
    show(Text(subject.title, style="bold"), *(Text(line, style="dim") for line in subject.notes), Text(""))
    show(view(found, console().width))


def _made(found: list[Found]) -> list[tuple[str, Evaluation, bool]]:
    """Returns all evaluations: their label, and whether they were recorded already."""
    made = [(each.label, each.evaluation, each.recorded) for each in found]
    others = [each.transfer for each in found if each.transfer is not None]
    return made + [("transfer", each.evaluation, each.recorded) for each in others if each.evaluation is not None]


def _plain(label: str, evaluation: Evaluation, recorded: bool) -> dict[str, Any]:
    return {**evaluation.model_dump(mode="json"), "label": label, "recorded": recorded}


def write(
    subject: Subject, found: list[Found], csv: Path | None, figure: Path | None, save_adversarial: Path | None
) -> None:
    """Writes the files that were asked for."""
    from coretune.report.robustness import to_csv, write_figure
    from coretune.results.files import put_atomic

    evaluations = [evaluation for _, evaluation, _ in _made(found)]
    if csv is not None:
        put_atomic(csv, to_csv(evaluations).encode())
    if figure is not None:
        write_figure(figure, evaluations, subject.title)
    for path in (csv, figure, save_adversarial):
        if path is not None:
            note(f"written: {path}")
