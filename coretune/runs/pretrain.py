"""Pre-trains one backbone in this process, with no Ray: for the command line, notebooks and scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coretune.data.fingerprint import fingerprint
from coretune.data.source import open_source
from coretune.errors import RequestError, StudyError
from coretune.results.record import Record
from coretune.results.store import ResultsStore
from coretune.runs.alone import OnEvent, context_on, execute_alone, held_directory
from coretune.runs.build import OpenData
from coretune.runs.job import Job
from coretune.spec.catalog import load_catalog, recipes
from coretune.spec.components import PER_PIXEL
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.run import RunSpec
from coretune.spec.yamlfile import Document

METHOD = "moco_v2"
TUNED = "ce"
"""A study has a method to tune with; here it is not used."""

OnStart = Callable[[RunSpec, int, Path], None]


@dataclass(frozen=True)
class PretrainResult:
    """What a pre-training left.

    Attributes:
        record: With the loss (`train`) and, where there are labels, `knn_top1` of the last epoch (`last`).
        weights: The trained weights.
        results: The results directory.
        backbone: The key of a study's `backbones` that starts from these weights: label, then its options.
        epochs: Metrics by evaluated epoch.
        images: How many images it was trained on.
        recorded: Whether it was recorded before, and nothing was trained.
    """

    record: Record
    weights: Path
    results: Path
    backbone: Mapping[str, Mapping[str, Any]]
    epochs: Mapping[int, Mapping[str, float]]
    images: int
    recorded: bool


def pretrain_backbone(
    dataset: str,
    *,
    backbone: str | None = None,
    backbone_params: Mapping[str, Any] | None = None,
    path: str | None = None,
    data: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    augment: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | None = None,
    out: Path | str | None = None,
    plugins: Sequence[str] = (),
    on_start: OnStart | None = None,
    on_event: OnEvent | None = None,
    **parameters: Any,
) -> PretrainResult:
    """Pre-trains a backbone by MoCo-v2 on the training images of a data set, without labels.

    Everything that is not said is the published recipe (`coretune.spec.catalog.recipes`). What is recorded already,
    here or in a results directory beside it, is not trained again; what was interrupted goes on where it was.

    Args:
        dataset: Name of a data set; `images` for a folder of images without labels.
        backbone: Name of an architecture; by default `resnet50`, and for images of at most 64 pixels `resnet18` with
            the stem for small images.
        backbone_params: Its parameters.
        path: Where the images are, for a data set that needs to be told.
        data: How the images are divided, `image_size`, the data set's parameters; keys of a data set in a study file.
        train: Over the recipe; keys of `train` in a study file.
        augment: Over the recipe's augmentation; keys of `data.augment` in a study file.
        seed: Of the training.
        device: Torch device; by default the first GPU, or else the CPU.
        out: The results directory, not that of a study; by default `results/pretrain-<data>-<backbone>`.
        plugins: Plug-in files.
        on_start: Called with the run, how many images it is trained on, and the results directory, before it is.
        on_event: Called with every `Tick` and `EpochReport`.
        **parameters: MoCo-v2's: `queue`, `momentum`, `temperature`, `projection_dim`.

    Raises:
        StudyError: A name or a value is wrong.
        RequestError: `out` holds the results of a study or something else, there is no such device, or the data set
            has a class per pixel.
        UnfitError: The data are absent.
        LockedError: Another process writes `out`.
        StorageError: `out` cannot be written.
        RunError: The training failed; the message says why.
        KeyboardInterrupt: It was interrupted; its state is stored, and the same call goes on.
    """
    if load_catalog(tuple(plugins)).dataset(dataset).labels == "pixel":
        raise RequestError(f"{dataset}: {PER_PIXEL}")
    context = context_on(device)
    data = {**_parts(dataset, tuple(plugins)), **(data or {})}
    side = _side(dataset, data, tuple(plugins))
    arch = _arch(side, backbone, backbone_params)
    start = {
        "arch": arch[0],
        "params": arch[1],
        "pretrain": {
            "method": METHOD,
            "params": recipes.parameters(parameters, images=1),
            "train": recipes.recipe(train or {}),
            "augment": recipes.augmentation(augment or {}, side),
            "seed": seed,
        },
    }
    loaded = _as_study(dataset, path, data, start, plugins)
    cell = loaded.cell
    chosen, open_data = cell.pretraining_data, OpenData()
    found = fingerprint(open_source(loaded.catalog, chosen.ref, chosen.path))
    spec = cell.backbone.pretraining(chosen, found)
    if spec is None:
        raise RequestError(f"{dataset}: nothing to pre-train")
    place = Path(out) if out is not None else default_place(dataset, path, arch[0])
    with held_directory(place, "pretrain", {chosen.label: found}) as store:
        images = len(open_data(Job(spec, chosen.path, plugins=loaded.plugins), loaded.catalog).split.train)
        method = loaded.catalog.ref("pretraining", METHOD, recipes.parameters(parameters, images))
        job = Job(spec.replace(method=method), chosen.path, keep_weights=True, plugins=loaded.plugins)
        known = _recorded(store, job.spec)
        if known is None and on_start is not None:
            on_start(job.spec, images, place)
        record = known or execute_alone(job, store, loaded.catalog, context, on_event, open_data)
        weights = store.weights_path(record.run_id)
        use = {arch[0]: {**({"params": arch[1]} if arch[1] else {}), "checkpoint": str(weights.absolute())}}
        return PretrainResult(record, weights, place, use, store.epochs(record.run_id), images, known is not None)


def default_place(dataset: str, path: str | None, arch: str) -> Path:
    """Returns where a pre-training lies if nobody says so: `results/pretrain-<data set, or its folder>-<arch>`."""
    name = Path(path).expanduser().absolute().stem if path is not None else dataset
    return Path("results") / f"pretrain-{re.sub(r'[^A-Za-z0-9_.+]+', '_', name)}-{arch}"


def _recorded(store: ResultsStore, spec: RunSpec) -> Record | None:
    """Returns the record of a completed run whose weights are here, perhaps taken over from a neighbour."""
    for _ in range(2):
        record = store.record(spec.run_id)
        if record is not None and record.status == "completed" and store.has_weights(spec.run_id, ["last"]):
            return record
        if not store.adopt(spec.run_id, weights=True):
            return None
    return None


def _parts(dataset: str, plugins: tuple[str, ...]) -> dict[str, Any]:
    """Returns how images without labels are divided: all but two are trained on, since the rest can tell nothing."""
    return {"validation": 1, "test": 1} if load_catalog(plugins).dataset(dataset).classes == 1 else {}


def _side(dataset: str, data: Mapping[str, Any], plugins: tuple[str, ...]) -> int:
    """Returns the side in pixels of what is trained on; one that is wrong is refused where the study is checked."""
    given = data.get("input_size") or data.get("image_size")
    return given if isinstance(given, int) else load_catalog(plugins).dataset(dataset).image_size


def _arch(side: int, backbone: str | None, params: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Returns the architecture and its parameters, chosen by the size of the images where nobody says."""
    given = dict(params or {})
    if backbone is not None:
        return backbone, given
    return ("resnet18", {"stem": "cifar", **given}) if side <= recipes.SMALL_SIDE else ("resnet50", given)


def _as_study(
    dataset: str, path: str | None, data: Mapping[str, Any], start: Mapping[str, Any], plugins: Sequence[str]
) -> LoadedStudy:
    """Returns a study of one cell, so that every name and value is checked as in a study file.

    Raises:
        StudyError: With all problems, by the names that they have here: `train.lr`, `params.queue`, `data.validation`.
    """
    options = {**({"path": path} if path is not None else {}), **data}
    study = {
        "name": "pretrain",
        "datasets": {dataset: options},
        "backbones": {"backbone": dict(start)},
        "methods": [TUNED],
        "search": "none",
        "plugins": list(plugins),
    }
    try:
        return resolve_study(Document(study, ""), folder=Path.cwd())
    except StudyError as error:
        raise StudyError([replace(problem, key=_here(problem.key, dataset)) for problem in error.problems]) from error


def _here(key: str, dataset: str) -> str:
    for prefix, name in (
        ("backbones.backbone.pretrain.", ""),
        ("backbones.backbone.arch", "arch"),
        ("backbones.backbone.params", "arch"),
        (f"datasets.{dataset}", "data"),
    ):
        if key.startswith(prefix):
            return f"{name}{key.removeprefix(prefix)}".strip(".")
    return key
