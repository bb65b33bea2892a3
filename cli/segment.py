"""`coretune segment`: the shipped study `voc_segmentation`, with the data and methods that are said; and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coretune.errors import MissingError, RequestError, UnfitError
from coretune_cli.arguments import AddressOption, JsonOption, OutOption, SetOption, SlotsOption
from coretune_cli.chosen import PathOption, choose
from coretune_cli.output import note
from coretune_cli.plan import plan as plan_study
from coretune_cli.running import RetryOption, TimeOption
from coretune_cli.running import run as run_study
from coretune_cli.segment_show import show
from coretune_cli.shipped import MethodsOption, PlanOption, SeedsOption, as_sets, at, methods_and_seeds

STUDY = "voc_segmentation"
AUG, VOC2012, OWN = "voc2012_aug", "voc2012", "voc"

app = typer.Typer(name="segment", help="Semantic segmentation: a class for each pixel.", no_args_is_help=True)

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="voc2012_aug (default where SBD is there), voc2012; voc for your own images and masks, with --path.",
    ),
]
HeadOption = Annotated[
    str | None, typer.Option("--head", metavar="NAME", help="deeplabv3, fcn or lraspp; default: the study's.")
]


@app.command("run")
def run(
    command: typer.Context,
    dataset: DatasetOption = None,
    path: PathOption = None,
    methods: MethodsOption = None,
    head: HeadOption = None,
    seeds: SeedsOption = None,
    sets: SetOption = None,
    plan: PlanOption = False,
    time_limit: TimeOption = None,
    slots: SlotsOption = None,
    out: OutOption = None,
    address: AddressOption = None,
    retry_failed: RetryOption = False,
    as_json: JsonOption = False,
) -> int:
    """Run the shipped study voc_segmentation, or go on with it, on your choice of data and methods.

    Whatever else its file says can be changed by --set, as in coretune study run; --set preset=smoke says in minutes
    whether it runs.
    """
    said = [*overrides(dataset, path, methods, head, seeds), *(sets or [])]
    if plan:
        return plan_study(command, STUDY, said, None, out, as_json=as_json)
    return run_study(STUDY, said, None, time_limit, slots, out, address, retry_failed, as_json)


app.command("show")(show)


def overrides(
    dataset: str | None, path: Path | None, methods: str | None, head: str | None, seeds: int | None
) -> list[str]:
    """Returns what the options change in the study, as `--set` has it.

    Raises:
        RequestError: A data set without masks, or no method.
        UnfitError: The images and masks are not there, or not as expected.
    """
    found: dict[str, Any] = {}
    if dataset is not None or path is not None:
        name = dataset or _set_at(path)
        keys = _parameters(name, path)
        found["datasets"] = {name: keys | at(path)}
    elif (absent := _absent(AUG)) and not _absent(VOC2012):
        note(f"SBD is not there: {VOC2012}, 1,464 images to train on, in place of {AUG} ({absent})")
        found["datasets"] = {VOC2012: {}}
    if head is not None:
        found["segmentation.head"] = head
    return as_sets(
        found | methods_and_seeds(methods, seeds), {"datasets": "--dataset and --path", "segmentation.head": "--head"}
    )


def _parameters(name: str, path: Path | None) -> dict[str, Any]:
    """Returns the parameters of a data set: of images of your own, how many classes their masks tell of."""
    from coretune.spec.catalog import load_catalog

    if load_catalog().dataset(name).labels != "pixel":
        raise RequestError(f"--dataset {name}: has a class per image; {AUG}, {VOC2012} and {OWN} have one per pixel")
    return dict(choose(name, path, download=False).ref.params) if name == OWN and path is not None else {}


def _set_at(path: Path | None) -> str:
    """Returns the data set that lies at a path: VOC 2012 with SBD, or images of your own."""
    from coretune.data.sources.voc2012 import is_train_aug

    if path is None or not is_train_aug(path.expanduser()):
        return OWN
    note(f"{path}: VOC 2012 and SBD: {AUG}; --dataset {VOC2012} trains without SBD")
    return AUG


def _absent(name: str) -> str:
    """Returns where a data set was looked for in vain; empty if it is there, even if the study will not have it so."""
    try:
        choose(name, None, download=False)
    except MissingError as error:
        return str(error).splitlines()[0]
    except UnfitError:
        return ""  # the study says what is wrong: another training set in its place would hide it
    return ""
