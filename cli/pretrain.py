"""`coretune pretrain`: a backbone pre-trained on images without labels, without a study file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from coretune.errors import RequestError, StudyError
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune_cli.arguments import AddressOption, DeviceOption, JsonOption
from coretune_cli.chosen import DataArgument, DownloadOption, PathOption, choose
from coretune_cli.epochs import epochs_table, metrics_by_epoch
from coretune_cli.formats import duration, plural
from coretune_cli.on_cluster import elsewhere
from coretune_cli.output import console, note, show, show_json, show_text

if TYPE_CHECKING:
    from coretune.runs.pretrain import PretrainResult
    from coretune.spec.run import RunSpec

SECTIONS = ("train", "augment", "params", "arch", "data")
"""What keys of `--set` begin with."""

ArchOption = Annotated[
    str | None,
    typer.Option(
        "--arch", metavar="NAME", help="Architecture; default: resnet50, or for images up to 64 pixels resnet18."
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", metavar="N", help="Passes over the images; default: 200.")
]
BatchOption = Annotated[int | None, typer.Option("--batch", metavar="N", help="Images per step; default: 256.")]
LrOption = Annotated[
    float | None, typer.Option("--lr", metavar="X", help="Learning rate; default: 0.03 × batch / 256.")
]
SizeOption = Annotated[
    int | None, typer.Option("--image-size", metavar="N", help="Side in pixels; default: the data set's own.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A key of the recipe: train.KEY, augment.KEY (augment.grey=0.1), params.KEY (params.queue=4096), "
        "arch.KEY (arch.stem=cifar), data.KEY (data.validation=0.05). Repeatable.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of the training.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Results directory; default: results/pretrain-DATA-ARCH.")
]


def pretrain(
    command: typer.Context,
    data: DataArgument,
    arch: ArchOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    lr: LrOption = None,
    image_size: SizeOption = None,
    sets: SetOption = None,
    seed: SeedOption = 0,
    path: PathOption = None,
    download: DownloadOption = False,
    out: OutOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> int:
    """Pre-train a backbone by MoCo-v2 on images without labels, or go on with it; say where the weights are.

    What is not said is the published recipe. Ctrl-C stores the state, and the same command goes on. What is recorded
    is not trained again.
    """
    if (code := elsewhere(command, address, device=device, outputs=[out])) is not None:
        return code
    said = settings(sets or [], SECTIONS, "train.epochs, augment.grey or params.queue")
    train = given(epochs=epochs, batch=batch, lr=lr)
    twice = [f"--{key}" for key in train if key in said["train"]]
    if image_size is not None and "image_size" in said["data"]:
        twice.append("--image-size")
    if twice:
        raise RequestError(f"{twice[0]} is said by --set too; leave one out")
    chosen = choose(data, path, download=download, unlabelled=True)
    if chosen.about.classes == 1:
        note("no class folders: the images have no labels, and there is no knn_top1", style="dim")
    from coretune.runs.pretrain import pretrain_backbone
    from coretune.runs.process import set_up
    from coretune_cli.reading import data_notes
    from coretune_cli.training import TrainingView

    place = str(chosen.path) if chosen.path is not None else None
    set_up()
    view = TrainingView(console(stderr=True))

    def start(spec: RunSpec, images: int, results: Path) -> None:
        note(f"run {spec.run_id}: {spec.backbone.arch.name} on {plural(images, 'image')}, in {results}", style="dim")
        view.begin(spec.method.name, spec.train.epochs, images)

    try:
        with data_notes(), view:
            result = pretrain_backbone(
                chosen.ref.name,
                backbone=arch,
                backbone_params=said["arch"],
                path=place,
                data={**chosen.ref.params, **said["data"], **given(image_size=image_size)},
                train={**said["train"], **train},
                augment=said["augment"],
                seed=seed,
                device=device,
                out=out,
                on_start=start,
                on_event=view.follow,
                **said["params"],
            )
    except KeyboardInterrupt:
        note("interrupted: the same command goes on", style="bold")
        return INTERRUPTED
    report(result, as_json=as_json)
    return 0


def given(**options: Any) -> dict[str, Any]:
    """Returns the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def settings(items: Sequence[str], sections: Sequence[str], examples: str) -> dict[str, dict[str, Any]]:
    """Returns what `--set` says, by section.

    Args:
        items: KEY=VALUE each.
        sections: What keys may begin with.
        examples: Of keys, for who gave none.

    Raises:
        RequestError: Not SECTION.KEY=VALUE, no such section, or a value that is no YAML.
    """
    from coretune.spec.wording import nearest
    from coretune.spec.yamlfile import parse_yaml

    found: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for item in items:
        key, equals, text = item.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot or not name:
            raise RequestError(f"--set {item}: needs KEY=VALUE, the key as {examples}")
        if section not in found:
            raise RequestError(f"--set {item}: {section!r} begins no key here{nearest(section, sections)}")
        try:
            found[section][name] = parse_yaml(text, f"--set {item}").value
        except StudyError as error:
            raise RequestError(f"--set {item}: {error.problems[0].message}") from error
    return found


def report(result: PretrainResult, *, as_json: bool) -> None:
    """Prints what a pre-training left: to stdout its weights, loss and figures, to stderr what came of it."""
    record, epochs = result.record, metrics_by_epoch(result.epochs)
    if as_json:
        show_json(
            {
                "run_id": record.run_id,
                "results": str(result.results),
                "weights": str(result.weights),
                "backbone": result.backbone,
                "images": result.images,
                "recorded": result.recorded,
                "loss": record.metrics.get("train", {}).get("loss"),
                "epochs": [{"epoch": epoch, **metrics} for epoch, metrics in epochs.items()],
                "seconds": record.timings.get("total_s"),
            }
        )
        return
    took = duration(record.timings.get("total_s"))
    if result.recorded:
        note(f"run {record.run_id} is recorded ({took}): nothing to train", style="bold")
    else:
        note(f"run {record.run_id}: done in {took}, on {plural(result.images, 'image')}", style="bold")
    show(*report_view(result, epochs, console().width))
    lines = "\n".join(f"  {label}: {json.dumps(options)}" for label, options in result.backbone.items())
    show_text(f"to start from it, in a study file:\nbackbones:\n{lines}")


def report_view(result: PretrainResult, epochs: Mapping[int, Mapping[str, float]], width: int) -> list[RenderableType]:
    """Draws the weights, the loss, and the figures by epoch."""
    loss = result.record.metrics.get("train", {}).get("loss")
    table = epochs_table(epochs, width - 2)
    lines: list[RenderableType] = [
        Text.assemble(("weights  ", "dim"), str(result.weights), overflow="fold"),
        Text.assemble(("loss     ", "dim"), f"{loss:.4f} (InfoNCE, nats; mean of the last epoch)" if loss else "–"),
    ]
    if table is not None:
        lines += [Text("of the validation images, by epoch", style="dim"), Padding(table, (0, 0, 0, 2), expand=False)]
    return lines
