"""`coretune tune` and `coretune robust train`: one model, without a study file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.table import Table

from coretune.errors import RequestError
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune_cli.arguments import AddressOption, DeviceOption, JsonOption
from coretune_cli.chosen import DataArgument, DownloadOption, PathOption, choose
from coretune_cli.class_board import IOU
from coretune_cli.formats import duration, plural, score
from coretune_cli.on_cluster import elsewhere
from coretune_cli.output import console, note, show, show_json
from coretune_cli.pretrain import BatchOption, SeedOption, SizeOption, given, settings
from coretune_cli.segment_runs import picture_command

if TYPE_CHECKING:
    from coretune.runs.tune import TuneResult
    from coretune.spec.run import RunSpec

SECTIONS = ("train", "method", "arch", "data", "adversary", "segmentation")
"""What keys of `--set` begin with."""
EXAMPLES = "train.momentum, method.eta or data.labels_per_class"

MethodOption = Annotated[str, typer.Option("--method", metavar="NAME", help="Method.")]
ArchOption = Annotated[str, typer.Option("--arch", metavar="NAME", help="Architecture.")]
CheckpointOption = Annotated[
    Path | None, typer.Option("--checkpoint", metavar="FILE", help="Weights to start from; default: random ones.")
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Passes over the labelled images.")]
LrOption = Annotated[float | None, typer.Option("--lr", metavar="X", help="Learning rate.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A key as in a study file: train.KEY, method.KEY (method.eta=1.0), arch.KEY, data.KEY "
        "(data.labels_per_class=10), adversary.KEY (adversary.attack=pgd), segmentation.KEY (segmentation.head=fcn). "
        "Repeatable.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Results directory, not that of a study.")]


class Recipe(StrEnum):
    """Ways of adversarial training."""

    PGD = "pgd"
    TRADES = "trades"
    FGSM_RS = "fgsm_rs"


class Features(StrEnum):
    """What the method sees in adversarial training."""

    ADVERSARIAL = "adversarial"
    CLEAN = "clean"
    BOTH = "both"


AttackOption = Annotated[Recipe, typer.Option("--attack", help="Way of adversarial training.")]
EpsOption = Annotated[str, typer.Option("--eps", metavar="X", help="Size of perturbations, 8/255 or 0.03.")]
FeaturesOption = Annotated[
    Features | None, typer.Option("--features", help="What the method sees; default: adversarial (trades: clean).")
]


class Place(NamedTuple):
    """Where one model is trained: its images, its results, the device."""

    path: Path | None
    download: bool
    out: Path
    device: str | None


def tune(
    command: typer.Context,
    data: DataArgument,
    method: MethodOption = "core_tuning",
    arch: ArchOption = "resnet50",
    checkpoint: CheckpointOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    lr: LrOption = None,
    image_size: SizeOption = None,
    sets: SetOption = None,
    seed: SeedOption = 0,
    path: PathOption = None,
    download: DownloadOption = False,
    out: OutOption = Path("results/tune"),
    device: DeviceOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> int:
    """Fine-tune one model, or go on with it, and test it.

    Ctrl-C stores the state, and the same command goes on. What is recorded is not trained again. A study searches,
    repeats and compares: coretune study run.
    """
    if (code := elsewhere(command, address, device=device, outputs=[out])) is not None:
        return code
    said = settings(sets or [], SECTIONS, EXAMPLES)
    recipe = given(epochs=epochs, batch=batch, lr=lr, image_size=image_size)
    where = Place(path, download, out, device)
    return train_one(data, method, arch, checkpoint, recipe, said, seed, where, as_json=as_json)


def harden(
    command: typer.Context,
    data: DataArgument,
    method: MethodOption = "core_tuning",
    arch: ArchOption = "resnet50",
    attack: AttackOption = Recipe.PGD,
    eps: EpsOption = "8/255",
    features: FeaturesOption = None,
    checkpoint: CheckpointOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    lr: LrOption = None,
    image_size: SizeOption = None,
    sets: SetOption = None,
    seed: SeedOption = 0,
    path: PathOption = None,
    download: DownloadOption = False,
    out: OutOption = Path("results/robust-train"),
    device: DeviceOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> int:
    """Fine-tune one model on adversarial images, or go on with it, and test it.

    As coretune tune, with an adversary. The accuracy under attack that it shows is a weak one, of the validation part;
    coretune robust eval measures what can be claimed.
    """
    if (code := elsewhere(command, address, device=device, outputs=[out])) is not None:
        return code
    said = settings(sets or [], SECTIONS, EXAMPLES)
    options = given(attack=attack.value, eps=eps, features=None if features is None else features.value)
    if twice := [key for key in options if key in said["adversary"]]:
        raise RequestError(f"--set adversary.{twice[0]}: say it by --{twice[0]}")
    said["adversary"] |= options
    recipe = given(epochs=epochs, batch=batch, lr=lr, image_size=image_size)
    where = Place(path, download, out, device)
    return train_one(data, method, arch, checkpoint, recipe, said, seed, where, as_json=as_json)


def train_one(
    data: str,
    method: str,
    arch: str,
    checkpoint: Path | None,
    recipe: Mapping[str, Any],
    said: Mapping[str, Mapping[str, Any]],
    seed: int,
    where: Place,
    *,
    as_json: bool,
) -> int:
    """Trains one model and shows what came of it; returns the exit code.

    Args:
        data: A data set, a folder, as `choose` takes it.
        method: Its name.
        arch: An architecture's name.
        checkpoint: Weights to start from.
        recipe: What options say: `epochs`, `batch`, `lr`, `image_size`.
        said: What `--set` says, by section.
        seed: Of the training.
        where: Places and device.
        as_json: Whether JSON is printed.
    """
    train = {key: value for key, value in recipe.items() if key != "image_size"}
    size = {key: value for key, value in recipe.items() if key == "image_size"}
    if twice := [key for key in train if key in said["train"]] + [key for key in size if key in said["data"]]:
        raise RequestError(f"--{twice[0].replace('_', '-')} is said by --set too; leave one out")
    chosen = choose(data, where.path, download=where.download)
    from coretune.runs.process import set_up
    from coretune.runs.tune import tune as tune_model
    from coretune_cli.reading import data_notes
    from coretune_cli.training import TrainingView

    set_up()
    view = TrainingView(console(stderr=True))

    def start(spec: RunSpec, images: int, results: Path) -> None:
        note(f"run {spec.run_id}: {spec.backbone.arch.name} on {plural(images, 'image')}, in {results}", style="dim")
        if spec.adversary is not None:
            note(f"adversary: {spec.adversary.summary()}", style="dim")
        view.begin(spec.method.name, spec.train.epochs, images)

    try:
        with data_notes(), view:
            result = tune_model(
                chosen.ref.name,
                method=method,
                backbone=arch,
                backbone_params=said["arch"] or None,
                checkpoint=None if checkpoint is None else str(checkpoint),
                path=None if chosen.path is None else str(chosen.path),
                data={**chosen.ref.params, **said["data"], **size},
                train={**said["train"], **train},
                adversary=said["adversary"] or None,
                segmentation=said["segmentation"] or None,
                seed=seed,
                device=where.device,
                out=where.out,
                on_start=start,
                on_event=view.follow,
                **said["method"],
            )
    except KeyboardInterrupt:
        note("interrupted: the same command goes on", style="bold")
        return INTERRUPTED
    report(result, where.out, as_json=as_json, path=chosen.path)
    return 0


def report(result: TuneResult, out: Path, *, as_json: bool, path: Path | None = None) -> None:
    """Prints what a training left: to stdout its figures and weights, to stderr what came of it and what comes next.

    Args:
        result: What it returned.
        out: Its results directory.
        as_json: Whether stdout is for programs.
        path: Where the data lie, where that was said.
    """
    from coretune.results.store import ResultsStore

    record = result.record
    validation = {which: record.metrics[which] for which in ("last", "best") if which in record.metrics}
    if as_json:
        show_json(
            {
                "run_id": record.run_id,
                "results": str(out),
                "weights": str(result.weights),
                "test": dict(result.test.metrics),
                "validation": validation,
                "seconds": record.timings.get("total_s"),
                "notes": list(record.notes),
            }
        )
        return
    note(f"run {record.run_id}: {duration(record.timings.get('total_s'))}", style="bold")
    for text in record.notes:
        note(text, style="dim")
    parts = {
        "test": result.test.metrics,
        **{f"validation, {which} epoch": found for which, found in validation.items()},
    }
    names = [name for name in dict.fromkeys(name for found in parts.values() for name in found) if name != "epoch"]
    show(_figures(parts, names), f"weights  {result.weights}")
    if (command := picture_command(ResultsStore(out), path)) is not None:
        note(f"what it predicts, as a picture: {command}")
    if record.spec.get("adversary") is not None:
        words = ["robust", "eval", str(out), "--run", record.run_id, "--attack", "autoattack"]
        said = shlex.join(words + ([] if path is None else ["--path", str(path)]))
        note(f"what can be claimed: coretune {said}", style="bold")


def _figures(parts: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Table:
    """Returns the table of what was measured: a line for each part, or where classes have metrics for each metric."""

    def shown(part: str, name: str) -> str:
        return score(parts[part][name], name) if name in parts[part] else ""

    if not any(name.startswith(IOU) for name in names):
        table = Table("", *names, box=None, pad_edge=False)
        for part in parts:
            table.add_row(part, *(shown(part, name) for name in names))
        return table
    table = Table("", *parts, box=None, pad_edge=False)
    for name in names:
        table.add_row(name, *(shown(part, name) for part in parts))
    return table
