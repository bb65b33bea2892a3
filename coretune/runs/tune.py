"""Tunes one model in this process, with no Ray: for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coretune.data.fingerprint import content_hash, fingerprint
from coretune.data.source import open_any
from coretune.errors import RequestError, RunError
from coretune.results.record import Evaluation, Record
from coretune.results.store import ResultsStore
from coretune.runs.alone import context_on, execute_alone, held_directory
from coretune.runs.build import OpenData
from coretune.runs.job import Job
from coretune.segment.fit import check_backbones
from coretune.spec.catalog import load_catalog
from coretune.spec.cells import Cell
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.run import EvalSpec, RunSpec
from coretune.spec.seeds import derive_seed
from coretune.spec.segmentation import MIOU
from coretune.spec.validation_attack import ROBUST
from coretune.spec.yamlfile import Document
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Tick

OnStart = Callable[[RunSpec, int, Path], None]


@dataclass(frozen=True)
class TuneResult:
    """What tuning one model left.

    Attributes:
        record: Metrics on the validation part.
        test: The evaluation on the test part.
        weights: The trained weights.
    """

    record: Record
    test: Evaluation
    weights: Path


def tune(
    dataset: str,
    *,
    method: str = "core_tuning",
    backbone: str = "resnet50",
    backbone_params: Mapping[str, Any] | None = None,
    checkpoint: str | None = None,
    pretrain: Mapping[str, Any] | None = None,
    path: str | None = None,
    data: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    adversary: Mapping[str, Any] | None = None,
    segmentation: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | None = None,
    out: Path | str = "results/tune",
    plugins: tuple[str, ...] = (),
    on_start: OnStart | None = None,
    on_event: Callable[[Tick | EpochReport], None] | None = None,
    **parameters: Any,
) -> TuneResult:
    """Tunes one model and evaluates it on the test part. What is recorded already is not trained again.

    Args:
        dataset: Name of a data set.
        method: Name of a method.
        backbone: Name of an architecture.
        backbone_params: Its parameters.
        checkpoint: A file of weights to start from.
        pretrain: Pre-train first, e.g. `{"method": "moco_v2"}`; keys as in a study file.
        path: Where the images are, for a data set that needs to be told.
        data: How the images are divided, and the data set's parameters; keys of a data set in a study file.
        train: The recipe; keys of `train` in a study file. What is given here wins over what the method changes.
        adversary: Adversarial training; keys of `adversary` in a study file. The weights of the best epoch under attack
            are kept and tested too, beside the last one's.
        segmentation: Head and pixels, for a data set with a class per pixel; keys of `segmentation` in a study file.
        seed: Seed of the training and of the labelled subset.
        device: Torch device; by default the first GPU, or else the CPU.
        out: The results directory; not that of a study. This process writes it alone meanwhile.
        plugins: Plug-in files.
        on_start: Called with each run that is to be trained, how many images it is trained on, and the results
            directory.
        on_event: Called with every `Tick` and `EpochReport`.
        **parameters: The method's parameters, e.g. `eta=1.0`.

    Raises:
        StudyError: A name or a value is wrong.
        RequestError: `out` holds the results of a study or something else, or there is no such device.
        UnfitError: The data or the checkpoint are absent.
        LockedError: Another process writes `out`.
        StorageError: `out` cannot be written.
        RunError: The training failed; the message says why.
        KeyboardInterrupt: It was interrupted; its state is stored, and the same call goes on.
    """
    start = _given(params=backbone_params, checkpoint=checkpoint, pretrain=pretrain)
    loaded = _as_study(
        dataset, method, {backbone: start}, path, data, train, adversary, segmentation, plugins, parameters
    )
    check_backbones(loaded, loaded.cells)
    chosen = loaded.cell.dataset
    context = context_on(device)
    found = fingerprint(open_any(loaded.catalog, chosen.ref, chosen.path))
    starts = loaded.cell.backbone

    def checkpoints() -> dict[str, str]:
        return {starts.label: content_hash(Path(starts.checkpoint))} if starts.checkpoint is not None else {}

    with held_directory(out, "tune", {chosen.label: found}, checkpoints) as store:
        return _run(loaded, found, seed, store, context, on_start, on_event)


def _run(
    loaded: LoadedStudy,
    found: str,
    seed: int,
    store: ResultsStore,
    context: Context,
    on_start: OnStart | None,
    on_event: Callable[[Tick | EpochReport], None] | None,
) -> TuneResult:
    """Executes what the model starts from, and the model. The caller holds the directory's lock."""
    cell = loaded.cell
    catalog, path, checkpoint = loaded.catalog, cell.dataset.path, cell.backbone.checkpoint

    open_data = OpenData()

    def execute(job: Job) -> Record:
        if on_start is not None and store.record(job.spec.run_id) is None:
            split = open_data(job, catalog).split
            images = split.labelled if job.spec.task != "pretraining" else split.train
            on_start(job.spec, len(images), store.root)
        return execute_alone(job, store, catalog, context, on_event, open_data)

    weights = _starting_weights(cell, found, execute)
    judged = "classification" if cell.dataset.segmentation is None else "segmentation"
    test = EvalSpec(evaluation=catalog.ref("evaluation", judged))
    spec = cell.spec(
        catalog, {}, fingerprint=found, weights=weights, seed=seed, subset_seed=derive_seed(seed, "subset")
    )
    evaluations: tuple[EvalSpec, ...] = (test,)
    if spec.adversary is not None:  # robust accuracy falls long before the last epoch: both are kept
        spec, evaluations = spec.replace(best_by=ROBUST), (test, test.replace(weights="best"))
    record = execute(Job(spec, path, checkpoint, keep_weights=True, evaluations=evaluations, plugins=loaded.plugins))
    evaluation = store.evaluation(spec.run_id, test.eval_id(spec.run_id))
    if evaluation is None:
        raise RunError(f"run {spec.run_id}: its evaluation is missing in {store.run_folder(spec.run_id)}")
    return TuneResult(record, evaluation, store.weights_path(spec.run_id))


def _as_study(
    dataset: str,
    method: str,
    backbones: Mapping[str, Any],
    path: str | None,
    data: Mapping[str, Any] | None,
    train: Mapping[str, Any] | None,
    adversary: Mapping[str, Any] | None,
    segmentation: Mapping[str, Any] | None,
    plugins: tuple[str, ...],
    parameters: Mapping[str, Any],
) -> LoadedStudy:
    """Returns a study of one cell, so that every name and value is checked as in a study file."""
    for name, value in {**parameters, **(train or {})}.items():
        if isinstance(value, Mapping):
            raise RequestError(f"{name}={value}: one model has no search; give a value")
    if dataset.startswith(("~", ".")) or "/" in dataset or "\\" in dataset:
        raise RequestError(
            f"{dataset!r} is no name of a data set but looks like a path; for a folder of images, <class>/<image>: "
            f'ct.tune("folder", path={dataset!r}, ...)'
        )
    study = {
        "name": "tune",
        "datasets": {dataset: {**(data or {}), **_given(path=path)}},
        "backbones": backbones,
        "methods": {method: {**parameters, "train": dict(train or {})}},  # where it wins over the method's own recipe
        "adversary": None if adversary is None else dict(adversary),
        "segmentation": None if segmentation is None else dict(segmentation),
        "objective": {"metric": MIOU} if _of_pixels(dataset, plugins) else {},
        "search": "none",
        "plugins": list(plugins),
    }
    return resolve_study(Document(study, "coretune.tune"), folder=Path.cwd())


def _of_pixels(dataset: str, plugins: tuple[str, ...]) -> bool:
    """Returns whether a data set has a class per pixel; of a name that is wrong, the study tells."""
    try:
        return load_catalog(plugins).dataset(dataset).labels == "pixel"
    except RequestError:
        return False


def _given(**options: Any) -> dict[str, Any]:
    """Returns the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _starting_weights(cell: Cell, found: str, execute: Callable[[Job], Record]) -> str:
    pretraining = cell.backbone.pretraining(cell.dataset, found)
    if pretraining is not None:
        execute(Job(pretraining, cell.dataset.path, keep_weights=True))
        return f"run:{pretraining.run_id}"
    if cell.backbone.checkpoint is not None:
        return f"sha256:{content_hash(Path(cell.backbone.checkpoint))}"
    return "random"
