"""A trained model on disk: written when a run ends, read by its evaluations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from coretune.data.dataset import Dataset
from coretune.errors import RequestError
from coretune.nets.model import Model
from coretune.nets.weights import load_weights, save_weights
from coretune.results.provenance import Provenance, as_metadata, provenance
from coretune.results.store import ResultsStore
from coretune.runs.build import TASKS, build_model, starting_file
from coretune.runs.job import Job
from coretune.spec.components import Catalog
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.context import Context
from coretune.tuning.loop import Best, Parts, Training
from coretune.tuning.method import Method
from coretune.tuning.shard import Shard
from coretune.tuning.snapshot import snapshot
from coretune.tuning.swad import Weights, use_average

METHOD = "method."
"""What the keys of a method's own modules, e.g. a projection head, begin with; no evaluation needs them."""


def average_of(training: Training, parts: Parts, context: Context, note: Callable[[str], None]) -> Weights | None:
    """Returns the averaged weights of a finished training, with statistics of batch norm of their own; None without.

    The statistics are those of an epoch's batches as they would follow the last one, in groups of `bn_group` images
    (by default a contrast batch), not mixed. Each of several workers estimates them by itself, from all images.

    Args:
        training: Finished.
        parts: What was trained; the model is as it was, afterwards.
        context: Where it ran.
        note: Told which part of the training the average is over.
    """
    found = None if training.average is None else training.average.valley.average()
    if found is None:
        return None
    note(f"swad: the average of {found.steps:,} steps, up to evaluations {found.first} to {found.last}")
    train = parts.train
    group = train.contrast_batch if train.bn_group is None else train.bn_group
    batches = (
        images
        for batch in parts.task.batches(train.epochs, 0, replace(context, shard=Shard()))
        for images in torch.split(batch.views[0], chunk_sizes(len(batch.views[0]), group))
    )
    last = snapshot(parts.model.state_dict())
    use_average(parts.model, found.weights, batches)
    averaged: Weights = snapshot(parts.model.state_dict())
    parts.model.load_state_dict(last)
    return averaged


def save_model(
    job: Job,
    parts: Parts,
    best: Best | None,
    dataset: Dataset[Any],
    store: ResultsStore,
    average: Weights | None = None,
) -> None:
    """Writes the weights of the last epoch, and those of the best one and the averaged ones if they were kept.

    Raises:
        StorageError: The disk is full or read-only.
    """
    run_id = job.spec.run_id
    start = starting_file(job, store)
    before = provenance(start) if start is not None else Provenance()
    metadata = {
        "run_id": run_id,
        "arch": job.spec.backbone.arch.model_dump_json(),
        **as_metadata(before.then(job.spec.data, dataset.contents)),
    }
    weights = parts.model.state_dict()
    if TASKS[job.spec.task].labelled:
        metadata["classes"] = json.dumps(list(dataset.packed.classes))
        extra = parts.method.state_dict()
        weights |= {f"{METHOD}{key}": extra[key] for key in extra if not key.startswith("classifier.")}
    save_weights(weights, store.weights_path(run_id, "last"), metadata)
    if best is not None and best.weights:
        save_weights(best.weights, store.weights_path(run_id, "best"), metadata)
    if average is not None:
        save_weights(average, store.weights_path(run_id, "swad"), metadata)


def load_model(
    job: Job, weights: str, dataset: Dataset[Any], store: ResultsStore, catalog: Catalog, context: Context
) -> Model:
    """Returns a recorded run's trained model, on the context's device.

    Args:
        job: The run.
        weights: `last`, `best` or `swad`.
        dataset: The data that it is for.
        store: Where its weights lie.
        catalog: What its names mean.
        context: Device and memory format.

    Raises:
        StorageError: The weights are gone or damaged.
        RequestError: They know other classes than the data, or belong to another architecture.
    """
    return _load(job, weights, dataset, store, catalog, context)[0]


def load_trained(
    job: Job, dataset: Dataset[Any], store: ResultsStore, catalog: Catalog, context: Context
) -> tuple[Model, Method]:
    """Returns a recorded run's trained model of the last epoch together with its method, e.g. for its projection head.

    Args:
        job: The run.
        dataset: The data that it is for.
        store: Where its weights lie.
        catalog: What its names mean.
        context: Device and memory format.

    Raises:
        StorageError: The weights are gone or damaged.
        RequestError: They know other classes than the data, or belong to another architecture or method.
    """
    model, method, rest = _load(job, "last", dataset, store, catalog, context)
    own = {key.removeprefix(METHOD): value for key, value in rest.items()}
    classifier = {key: value for key, value in method.state_dict().items() if key.startswith("classifier.")}
    try:
        method.load_state_dict(own | classifier)
    except RuntimeError as error:
        raise RequestError(f"run {job.spec.run_id}: its weights are of another method: {error}") from error
    return model, method


def _load(
    job: Job, weights: str, dataset: Dataset[Any], store: ResultsStore, catalog: Catalog, context: Context
) -> tuple[Model, Method, dict[str, Tensor]]:
    """Returns the trained model, the method with its classifier alone trained, and the method's other weights."""
    store.fetch_weights(job.spec.run_id, weights)
    path = store.weights_path(job.spec.run_id, weights)
    state, metadata = load_weights(path)
    _check_classes(job.spec.run_id, json.loads(metadata.get("classes", "null")), dataset.packed.classes)
    model, method = build_model(job, dataset, catalog, context)
    try:
        model.load_state_dict({key: value for key, value in state.items() if not key.startswith(METHOD)})
    except RuntimeError as error:
        raise RequestError(f"{path}: is of another architecture: {error}") from error
    return model, method, {key: value for key, value in state.items() if key.startswith(METHOD)}


def _check_classes(run_id: str, trained: list[str] | None, classes: tuple[str, ...]) -> None:
    if trained is None or tuple(trained) == classes:
        return
    if len(trained) != len(classes):
        how = f"{len(trained)} classes, the data have {len(classes)}"
    else:
        number = next(i for i, (one, other) in enumerate(zip(trained, classes, strict=True)) if one != other)
        how = f"class {number} as {trained[number]!r}, in the data it is {classes[number]!r}"
    raise RequestError(f"run {run_id} knows {how}: it was trained on other classes, or in another order")
