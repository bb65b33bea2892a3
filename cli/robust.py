"""`coretune robust`: trained models under attacks and common corruptions, and their calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from coretune.errors import MissingError, RequestError
from coretune_cli.arguments import AddressOption, DeviceOption, JsonOption, ResultsArgument
from coretune_cli.headway import headway_bar
from coretune_cli.on_cluster import elsewhere
from coretune_cli.output import console, note, show, show_json
from coretune_cli.robust_options import (
    DEFAULT_ATTACK,
    OPTIONS,
    ArchOption,
    AttackOption,
    CalibrationOption,
    CheckpointOption,
    CorruptionsOption,
    CsvOption,
    DataOption,
    EpsOption,
    FigureOption,
    LimitOption,
    MeanOption,
    MedianOption,
    NormOption,
    PathOption,
    RestartsOption,
    RunOption,
    SaveOption,
    SeedOption,
    SizeOption,
    StdOption,
    StepsOption,
    SuccessOption,
    TransferArchOption,
    TransferOption,
    WhichOption,
    asked,
    attack_parameters,
    numbers,
)
from coretune_cli.robust_subject import ForeignModel, RecordedRun, Subject, choose_run
from coretune_cli.robust_transfer import NONE, Transfer, not_tested, tested, transfer_spec, verdict_of
from coretune_cli.robust_view import Found, view

if TYPE_CHECKING:
    from coretune.results.record import Evaluation
    from coretune.spec.run import EvalSpec
    from coretune.tuning.context import Context

app = typer.Typer(
    name="robust",
    help="Trained models under attacks and common corruptions, and their calibration.",
    no_args_is_help=True,
)


@app.command("eval")
def evaluate(
    command: typer.Context,
    results: ResultsArgument = None,
    run: RunOption = None,
    attack: AttackOption = None,
    eps: EpsOption = None,
    norm: NormOption = None,
    steps: StepsOption = None,
    restarts: RestartsOption = None,
    success: SuccessOption = None,
    median: MedianOption = None,
    transfer_from: TransferOption = None,
    transfer_arch: TransferArchOption = None,
    corruptions: CorruptionsOption = False,
    calibration: CalibrationOption = False,
    weights: WhichOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    address: AddressOption = None,
    path: PathOption = None,
    checkpoint: CheckpointOption = None,
    arch: ArchOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: SizeOption = None,
    csv: CsvOption = None,
    save_adversarial: SaveOption = None,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> int:
    """Attack a trained model, corrupt its images, measure its calibration.

    Without a run it is the best final run of the newest results.

    What is found is written beside the run's record, and not computed again.
    """
    outputs = [csv, figure, save_adversarial, None if results is None else Path(results)]
    if (code := elsewhere(command, address, device=device, outputs=outputs)) is not None:
        return code
    said = attack_parameters(attack, eps, norm, steps, restarts, success, median)
    if not (said or corruptions or calibration):
        note(f"--attack {DEFAULT_ATTACK}, since nothing is asked for; quote --attack autoattack", style="dim")
        said = {"attacks": DEFAULT_ATTACK}
    if said and "attacks" not in said:
        first = next(iter(said))
        raise RequestError(f"--{OPTIONS.get(first, first)} is of an attack: say which, --attack pgd")
    for option, value in {
        "--save-adversarial": save_adversarial,
        "--transfer-from": transfer_from,
        "--transfer-arch": transfer_arch,
    }.items():
        if value is not None and not said:
            raise RequestError(f"{option} needs an attack: --attack pgd")
    if figure is not None:
        from coretune.report.robustness import check_format

        check_format(figure)
    own = {"--arch": arch, "--data": data, "--mean": mean, "--std": std, "--image-size": image_size}
    _check_place(checkpoint, {name: value for name, value in own.items() if value is not None}, results, run)
    wanted: dict[str, Any] = {"attack": said or None, "corruptions": corruptions, "calibration": calibration}
    from coretune.spec.catalog import load_catalog

    asked(load_catalog(), **wanted, weights="last", limit=limit, seed=seed)  # what is wrong is said before torch loads
    from coretune.runs.alone import context_on
    from coretune.runs.process import set_up
    from coretune_cli.reading import data_notes

    set_up()
    context = context_on(device)
    with data_notes():
        if checkpoint is not None:
            subject: Subject = _foreign(checkpoint, str(arch), str(data), path, mean, std, image_size, context)
        else:
            place = None if path is None else str(path)
            choice = choose_run(results, run, None if weights is None else weights.value)
            subject = RecordedRun(choice, context, place)
        specs = asked(subject.catalog, **wanted, weights=subject.weights, limit=limit, seed=seed)
        found = [_found(subject, name, spec, save_adversarial) for name, spec in specs.items()]
        if said:
            found[0] = replace(found[0], transfer=_transfer(subject, specs["attack"], transfer_from, transfer_arch))
        subject.finish()
    _report(subject, found, as_json=as_json)
    _write(subject, found, csv, figure, save_adversarial)
    return 0


def _check_place(checkpoint: Path | None, own: Mapping[str, Any], results: str | None, run: str | None) -> None:
    """Refuses options that do not go together."""
    if checkpoint is None and own:
        raise RequestError(f"{next(iter(own))} is of a model that coretune did not train: give --checkpoint FILE")
    if checkpoint is None:
        return
    if run is not None or results is not None:
        raise RequestError("--checkpoint is no run: leave out the results directory and --run")
    missing = [name for name in ("--arch", "--data") if name not in own]
    if missing:
        raise RequestError(f"--checkpoint needs {' and '.join(missing)}: its architecture, and the data it is for")
    for name in ("--mean", "--std"):
        numbers(name, own.get(name))
    if not checkpoint.exists():
        raise MissingError(f"{checkpoint}: cannot be read: there is no such file")


def _foreign(
    checkpoint: Path,
    arch: str,
    data: str,
    path: Path | None,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    context: Context,
) -> ForeignModel:
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


def _found(subject: Subject, name: str, spec: EvalSpec, save_adversarial: Path | None) -> Found:
    """Returns an evaluation: as it is recorded, or made now."""
    arrays_to = save_adversarial if name == "attack" else None
    recorded = subject.recorded(spec)
    if recorded is not None and arrays_to is None:
        return Found(name, recorded, recorded=True)
    images = "all test images" if spec.limit is None else f"up to {spec.limit:,} test images"
    again = ", again for its images" if recorded is not None else ""
    with headway_bar(f"{name} on {images}{again}") as tell:
        return Found(name, subject.evaluate(spec, arrays_to=arrays_to, tell=tell), recorded=False)


def _transfer(subject: Subject, attack: EvalSpec, words: str | None, arch: str | None) -> Transfer:
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


def _report(subject: Subject, found: list[Found], *, as_json: bool) -> None:
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


def _write(
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
