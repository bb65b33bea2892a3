"""Puts the parts of a run together: data, encoder, method, task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from coretune.data.dataset import Dataset, open_dataset
from coretune.data.fingerprint import content_hash
from coretune.data.mask_dataset import open_mask_dataset
from coretune.data.roots import cache_root
from coretune.errors import RequestError, UnfitError
from coretune.nets.backbone import Backbone
from coretune.nets.dilation import dilate
from coretune.nets.model import Model
from coretune.nets.weights import load_encoder
from coretune.pretrain.task import PretrainingTask
from coretune.results.store import ResultsStore
from coretune.robust.adversarial_training import AdversarialTask
from coretune.robust.validation import AttackedTask
from coretune.runs.job import Job
from coretune.segment.heads import make_head
from coretune.segment.methods import DenseMethod
from coretune.segment.model import SegmentationModel
from coretune.segment.task import SegmentationTask
from coretune.spec.components import Catalog, Kind, needs_domains
from coretune.spec.domain_room import no_room
from coretune.spec.run import RunSpec
from coretune.spec.seeds import derive_seed
from coretune.spec.study import Resources
from coretune.tuning.classification import ClassificationTask
from coretune.tuning.context import Context
from coretune.tuning.loop import Parts
from coretune.tuning.method import Method
from coretune.tuning.task import Task


class MakeTask(Protocol):
    """A task's class."""

    def __call__(self, dataset: Dataset[Any], spec: RunSpec, views: int, *, whole_images: bool, regroups: bool) -> Task:
        """Returns the task of a run, for a method that asks for so many views and is otherwise so."""


@dataclass(frozen=True)
class TaskKind:
    """How a kind of task is put together.

    Attributes:
        method_kind: Where its methods stand in the catalog.
        make: Puts the task together.
        labelled: Whether its model predicts classes.
    """

    method_kind: Kind
    make: MakeTask
    labelled: bool


TASKS: Mapping[str, TaskKind] = {
    "classification": TaskKind("method", ClassificationTask, labelled=True),
    "pretraining": TaskKind("pretraining", PretrainingTask, labelled=False),
    "segmentation": TaskKind("method", SegmentationTask, labelled=True),
}


def build_parts(
    job: Job,
    dataset: Dataset[Any],
    store: ResultsStore,
    catalog: Catalog,
    context: Context,
    *,
    keep_best: bool = False,
    keep_average: bool = False,
    note: Callable[[str], None] | None = None,
) -> Parts:
    """Returns a run's parts at the start of its training, on the context's device.

    Args:
        job: The run.
        dataset: Its data.
        store: Where the weights that it needs lie.
        catalog: What its names mean.
        context: Where it runs.
        keep_best: As in `Parts`.
        keep_average: As in `Parts`.
        note: Told what the record should say, e.g. what of a checkpoint matched.

    Raises:
        UnfitError: The weights that the run needs are not there.
        RequestError: They do not fit the architecture, a component has another version here, or the method needs
            domains and the images have none, or a contrast batch too few images of each.
    """
    spec = job.spec
    if keep_average and spec.task != "classification":
        raise RequestError(f"weights: swad averages by the cross-entropy of validation images; {spec.task} has none")
    params = catalog.parameters(TASKS[spec.task].method_kind, spec.method)
    if needs_domains(params):
        domains = dataset.needed_domains(_trained_on(dataset, spec), f"method {spec.method.name}")
        if (why := no_room(spec.method.name, params, spec.train, len(domains.names))) is not None:
            raise RequestError(why)
    model, method = build_model(job, dataset, catalog, context, initial_weights(job, store), note)
    # Batch norm that several workers synchronise is put into the backbone call by call, behind a compiler's back.
    if context.compile and method.compilable and context.shard.workers == 1:
        model.encoder.compile()
    asked = {"whole_images": method.whole_images, "regroups": method.regroups}
    check_adversary(spec, method)
    task = task_maker(spec)(dataset, spec, method.views, **asked)
    return Parts(task, model, method, spec.train, spec.seed, keep_best, keep_average)


def build_model(
    job: Job,
    dataset: Dataset[Any],
    catalog: Catalog,
    context: Context,
    weights: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> tuple[Model, Method]:
    """Returns a run's model and method, on the context's device.

    What is random follows from the run's seed alone: the encoder by one stream, the method's modules by another, so
    that two methods whose first module is the classifier start from the same one.

    Args:
        job: The run.
        dataset: Its data.
        catalog: What its names mean.
        context: Where it runs.
        weights: File of the encoder's weights; None leaves them random.
        note: As in `build_parts`.

    Raises:
        RequestError: The weights or the images do not fit the architecture, a component has another version here, or
            a classifier would have a single class.
    """
    spec = job.spec
    kind = TASKS[spec.task]
    if kind.labelled and len(dataset.packed.classes) < 2:
        raise RequestError(f"data set {spec.data.dataset.name}: a single class: there is nothing to tell apart")
    parameters = catalog.parameters("backbone", spec.backbone.arch)
    with seeded(derive_seed(spec.seed, "init", "encoder")):
        encoder = catalog.get("backbone", spec.backbone.arch.name).load()(parameters)
    if isinstance(encoder, Backbone):
        sizes = encoder.sizes if spec.segmentation is None else encoder.map_sizes or encoder.sizes
        for side in dict.fromkeys((spec.data.input_side, *_tested(spec))):
            sizes.check(spec.backbone.arch.name, side, side)
    if weights is not None:
        found = load_encoder(encoder, weights, spec.backbone.arch.name)
        if found is not None and note is not None:
            note(f"checkpoint {weights.name}: {found.summary()}")
    params = catalog.parameters(kind.method_kind, spec.method)
    domains = dataset.domains_among(_trained_on(dataset, spec))
    if spec.segmentation is not None:
        return _on_device(*_segmentation(spec, encoder, len(dataset.packed.classes), catalog), context)
    with seeded(derive_seed(spec.seed, "init", "method")):
        method: Method = catalog.get(kind.method_kind, spec.method.name).load()(
            params, features=encoder.features, classes=len(dataset.packed.classes) if kind.labelled else 0
        )
        if domains is not None:
            method.tell_domains(len(domains.names))
        method.prepare(encoder)
    statistics = (encoder.mean, encoder.std) if isinstance(encoder, Backbone) else ()
    return _on_device(Model(encoder, method.classifier, *statistics), method, context)


def _segmentation(spec: RunSpec, encoder: Any, classes: int, catalog: Catalog) -> tuple[Model, Method]:
    """Returns model and method of a segmentation: the backbone is dilated, and the method has a head on it.

    Raises:
        RequestError: The backbone cannot be dilated, or the head does not go with it; or the method has no such form.
    """
    assert spec.segmentation is not None
    arch, options = spec.backbone.arch.name, spec.segmentation
    levels = dilate(encoder, options.output_stride, arch)
    make = catalog.get("method", spec.method.name).load_dense()
    with seeded(derive_seed(spec.seed, "init", "method")):
        head = make_head(options, levels, classes, arch)
        method: DenseMethod = make(catalog.parameters("method", spec.method), options=options, head=head)
        method.prepare(encoder)
    return SegmentationModel(encoder, head), method


def _on_device(model: Model, method: Method, context: Context) -> tuple[Model, Method]:
    for module in (model, method):
        module.to(device=context.device)
        module.to(memory_format=context.memory_format)
    return model, method


def _tested(spec: RunSpec) -> tuple[int, ...]:
    """Returns the sides of the squares that are evaluated; none where images are evaluated whole."""
    return () if spec.segmentation is not None else (spec.data.test_sides.crop,)


def _trained_on(dataset: Dataset[Any], spec: RunSpec) -> NDArray[np.int64]:
    """Returns which images a run trains on."""
    return dataset.split.labelled if TASKS[spec.task].labelled else dataset.split.train


def task_maker(spec: RunSpec) -> MakeTask:
    """Returns what puts a run's task together: with an adversary, with an attack on the validation part, or plain."""
    if spec.adversary is not None:
        return AdversarialTask
    return TASKS[spec.task].make if spec.validation_attack is None else AttackedTask


def check_adversary(spec: RunSpec, method: Method) -> None:
    """Makes sure that a run's adversary can work with its method.

    Raises:
        RequestError: It cannot.
    """
    if spec.adversary is not None and spec.adversary.attack == "trades" and type(method).mix is not Method.mix:
        raise RequestError(
            f"adversary trades compares what is predicted for clean and for adversarial images; {spec.method.name} "
            "sees neither, but mixed ones: take adversary.attack: pgd"
        )


def context_of(resources: Resources) -> Context:
    """Returns where and how runs with these resources are executed."""
    return Context(
        device=torch.device("cuda" if resources.gpus else "cpu"),
        micro_batch=resources.micro_batch,
        channels_last=resources.channels_last,
        compile=resources.compile,
    )


def open_job_data(job: Job, catalog: Catalog) -> Dataset[Any]:
    """Opens the data set of a run, packed and split.

    Raises:
        UnfitError: The data are absent, or not those that the run names.
    """
    opened = open_dataset if job.spec.segmentation is None else open_mask_dataset
    return opened(catalog, job.spec.data, job.data_path, cache_root())


class OpenData:
    """Keeps the last data sets open, for a process that executes one run after another.

    Opening one looks at each of its files, to see whether they are still those that the run was planned with.

    Args:
        kept: How many.
    """

    def __init__(self, kept: int = 4) -> None:
        self._kept = kept
        self._known: dict[tuple[str, str | None, tuple[str, ...]], Dataset[Any]] = {}

    def __call__(self, job: Job, catalog: Catalog) -> Dataset[Any]:
        """Returns the data set of a run, as `open_job_data` does."""
        key = (job.spec.data.model_dump_json(exclude={"augment"}), job.data_path, job.plugins)
        found = self._known.pop(key, None) or open_job_data(job, catalog)
        self._known[key] = found
        while len(self._known) > self._kept:
            del self._known[next(iter(self._known))]
        return found


def initial_weights(job: Job, store: ResultsStore) -> Path | None:
    """Returns the file of a run's initial weights, or None for random ones.

    Raises:
        UnfitError: The file is not there, or not the one that the run names.
    """
    origin, _, name = job.spec.backbone.weights.partition(":")
    if origin == "run":
        store.fetch_run(name)
    path = starting_file(job, store)
    if path is None:
        return None
    if not path.is_file():
        needed = f"the pre-training run {name}" if origin == "run" else f"the checkpoint {job.checkpoint}"
        raise UnfitError(f"{needed} left no weights at {path}; resume the study that makes it")
    if origin == "sha256":
        found = content_hash(path)
        if found != name:
            raise UnfitError(f"{path} has changed: its SHA-256 is {found[:12]}…, the run was planned with {name[:12]}…")
    return path


def starting_file(job: Job, store: ResultsStore) -> Path | None:
    """Returns where the file of a run's initial weights is or should be, or None for random ones."""
    origin, _, name = job.spec.backbone.weights.partition(":")
    if origin == "random":
        return None
    return store.weights_path(name) if origin == "run" else Path(job.checkpoint or "")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global generator for the initialisation of modules, and restores it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
