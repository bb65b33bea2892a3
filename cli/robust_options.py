"""The options of `coretune robust eval`, and the evaluations that they mean."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coretune.errors import RequestError

if TYPE_CHECKING:
    from coretune.spec.components import Catalog
    from coretune.spec.run import EvalSpec
    from coretune_cli.robust_subject import Weights

IMAGES = 1000
"""Images of an attack and of corruptions, where nobody says."""

DEFAULT_ATTACK = "pgd"

ATTACK = "Attack"
MODEL = "A model that coretune did not train"
FILES = "Files"
OPTIONS = {"median_images": "median"}
"""What options are called whose parameters have longer names."""


class Norm(StrEnum):
    """Norms of perturbations."""

    linf = "linf"
    l2 = "l2"


class Success(StrEnum):
    """Which iterate has to fool the model."""

    last = "last"
    any = "any"


class Which(StrEnum):
    """Which weights of a run."""

    last = "last"
    best = "best"
    swad = "swad"


RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="ID", help="A run, by its id or its beginning; default: the best final run."),
]
AttackOption = Annotated[
    str | None,
    typer.Option(
        "--attack",
        metavar="A,B,C",
        help="Attacks, whose worst counts on each image: fgsm, pgd, apgd-ce, apgd-t, fab-t, square, autoattack, ...",
        rich_help_panel=ATTACK,
    ),
]
EpsOption = Annotated[
    str | None,
    typer.Option("--eps", metavar="E,E", help="Sizes of perturbations, e.g. 1/255,2/255.", rich_help_panel=ATTACK),
]
NormOption = Annotated[
    Norm | None, typer.Option("--norm", help="Norm of perturbations; default: linf.", rich_help_panel=ATTACK)
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", min=1, metavar="N", help="Gradient steps.", rich_help_panel=ATTACK)
]
RestartsOption = Annotated[
    int | None, typer.Option("--restarts", min=1, metavar="N", help="Starts of an attack.", rich_help_panel=ATTACK)
]
SuccessOption = Annotated[
    Success | None,
    typer.Option("--success", help="Iterate that has to fool the model: the last one, or any.", rich_help_panel=ATTACK),
]
MedianOption = Annotated[
    int | None,
    typer.Option(
        "--median",
        min=0,
        metavar="N",
        help="Images whose smallest perturbation is looked for (FAB), which takes long; 0: none. Default: 100.",
        rich_help_panel=ATTACK,
    ),
]
TransferOption = Annotated[
    str | None,
    typer.Option(
        "--transfer-from",
        metavar="ID|FILE|none",
        help="Another model of the same images, on which adversarial images are made that may fool this one: a run, or "
        "a file of weights with a classifier. Default: another final run of the same results.",
        rich_help_panel=ATTACK,
    ),
]
TransferArchOption = Annotated[
    str | None,
    typer.Option(
        "--transfer-arch",
        metavar="NAME",
        help="The architecture of that file; default: the model's own.",
        rich_help_panel=ATTACK,
    ),
]
CorruptionsOption = Annotated[
    bool, typer.Option("--corruptions", help="The 15 common corruptions of ImageNet-C at 5 severities.")
]
CalibrationOption = Annotated[
    bool, typer.Option("--calibration", help="Calibration error, raw and with a temperature of the validation part.")
]
WhichOption = Annotated[
    Which | None, typer.Option("--weights", help="Which weights of the run; default: those that its study tests.")
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=0,
        metavar="N",
        help=f"Test images, drawn by the seed; 0: all. Default: {IMAGES:,}, for --calibration all.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of the images, attacks and corruptions.")]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="FILE", help="A file of weights with a classifier.", rich_help_panel=MODEL),
]
ArchOption = Annotated[
    str | None, typer.Option("--arch", metavar="NAME", help="Its architecture, e.g. resnet20.", rich_help_panel=MODEL)
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|PATH",
        help="The data set whose classes it knows, in this order.",
        rich_help_panel=MODEL,
    ),
]
PathOption = Annotated[
    Path | None, typer.Option("--path", metavar="DIR", help="Where the named data set lies; default: as known.")
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        help="What pixels in [0, 1] are normalised with; default: what the architecture says, ImageNet's.",
        rich_help_panel=MODEL,
    ),
]
StdOption = Annotated[str | None, typer.Option("--std", metavar="R,G,B", help="Likewise.", rich_help_panel=MODEL)]
SizeOption = Annotated[
    int | None,
    typer.Option("--image-size", metavar="N", help="Side in pixels; default: the data set's.", rich_help_panel=MODEL),
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write every number, one a row.", rich_help_panel=FILES)
]
SaveOption = Annotated[
    Path | None,
    typer.Option(
        "--save-adversarial",
        metavar="FILE",
        help="Write the adversarial images (safetensors).",
        rich_help_panel=FILES,
    ),
]
FigureOption = Annotated[
    Path | None,
    typer.Option("--figure", metavar="FILE", help="Draw what was found (.png, .pdf, .svg).", rich_help_panel=FILES),
]


def asked(
    catalog: Catalog,
    *,
    attack: Mapping[str, Any] | None,
    corruptions: bool,
    calibration: bool,
    weights: Weights,
    limit: int | None,
    seed: int,
) -> dict[str, EvalSpec]:
    """Returns the evaluations that are asked for, by name.

    Args:
        catalog: What names mean.
        attack: Parameters of the evaluation `attack`; None: no attack.
        corruptions: Whether common corruptions are asked for.
        calibration: Whether calibration is.
        weights: Of the run.
        limit: Images; 0 for all, None for the default of each.
        seed: Of everything.

    Raises:
        RequestError: A value is wrong.
    """
    wanted: dict[str, Mapping[str, Any]] = {}
    if attack is not None:
        wanted["attack"] = attack
    wanted |= {"corruptions": {}} if corruptions else {}
    wanted |= {"calibration": {}} if calibration else {}
    return {name: _spec(catalog, name, params, weights, _images(limit, name), seed) for name, params in wanted.items()}


def attack_parameters(
    attack: str | None,
    eps: str | None,
    norm: Norm | None,
    steps: int | None,
    restarts: int | None,
    success: Success | None,
    median: int | None,
) -> dict[str, Any]:
    """Returns what is said of the attack, as its evaluation's parameters; empty if nothing is."""
    said: dict[str, Any] = {
        "attacks": attack,
        "eps": eps,
        "norm": norm,
        "steps": steps,
        "restarts": restarts,
        "success": success,
        "median_images": median,
    }
    given = {key: value for key, value in said.items() if value is not None}
    return {key: value.value if isinstance(value, StrEnum) else value for key, value in given.items()}


def numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """Returns three numbers of `0.5,0.5,0.5`, or None of nothing.

    Raises:
        RequestError: It is something else.
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != 3:
        raise RequestError(f"{name} {text}: needs three numbers, of red, green and blue, e.g. 0.485,0.456,0.406")
    return found


def _images(limit: int | None, name: str) -> int | None:
    if limit is None:
        return None if name == "calibration" else IMAGES
    return limit or None


def _spec(
    catalog: Catalog, name: str, params: Mapping[str, Any], weights: Weights, limit: int | None, seed: int
) -> EvalSpec:
    from pydantic import ValidationError

    from coretune.spec.run import EvalSpec
    from coretune.spec.wording import describe, locate

    try:
        evaluation = catalog.ref("evaluation", name, params)
    except ValidationError as error:
        model = catalog.get("evaluation", name).parameters
        first = error.errors()[0]
        spot = locate(model, first["loc"])
        key = str(spot.path[0]) if spot.path else "attacks"
        option = name if key == "attacks" else f"--{OPTIONS.get(key, key)}"
        raise RequestError(f"{option}: {describe([first], spot)}") from error
    return EvalSpec(evaluation=evaluation, weights=weights, limit=limit, seed=seed)
