"""`evaluate(run, EvalSpec)`: judges a trained model and leaves the result beside the run's record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coretune.data.dataset import Dataset
from coretune.data.draws import permutation
from coretune.nets.model import Model
from coretune.results.record import Evaluation
from coretune.results.store import ResultsStore
from coretune.results.times import now_iso
from coretune.runs.build import open_job_data
from coretune.runs.job import Job
from coretune.runs.trained import load_model
from coretune.spec.components import Catalog, EvaluationComponent
from coretune.spec.run import EvalSpec
from coretune.tuning.context import Context
from coretune.tuning.modes import evaluation_mode, private_random_numbers, seed_random_numbers
from coretune.tuning.precision import autocast


def evaluate(job: Job, spec: EvalSpec, store: ResultsStore, catalog: Catalog, context: Context) -> Evaluation:
    """Evaluates a recorded run from its weights on disk, and writes the evaluation.

    Raises:
        StorageError: The weights are gone or damaged, or the evaluation cannot be written.
        UnfitError: The data are absent or have changed.
        RequestError: The weights know other classes than the data, or a component has another version here.
    """
    dataset = open_job_data(job, catalog)
    model = load_model(job, spec.weights, dataset, store, catalog, context)
    return evaluate_model(model, dataset, job, spec, store, catalog, context)


def evaluate_model(
    model: Model, dataset: Dataset, job: Job, spec: EvalSpec, store: ResultsStore, catalog: Catalog, context: Context
) -> Evaluation:
    """Evaluates a model that is in memory, and writes the evaluation beside its run's record.

    Several workers that trained it together evaluate it together; the first of them writes.

    The model is in evaluation mode meanwhile, and computes in the precision that it was trained in.

    Raises:
        StorageError: The evaluation cannot be written.
        RequestError: The evaluation has another version here.
    """
    started = time.perf_counter()
    params = catalog.parameters("evaluation", spec.evaluation)
    component = catalog.get("evaluation", spec.evaluation.name)
    judge = component.load()
    asks = isinstance(component, EvaluationComponent) and component.labelled
    further = {"labelled": dataset.split.labelled} if asks else {}
    indices = limited(getattr(dataset.split, spec.split), spec)
    with (
        private_random_numbers(context.device),
        evaluation_mode(model),
        torch.no_grad(),
        autocast(context.device, job.spec.train.precision),
    ):
        seed_random_numbers(spec.seed, context.device)
        found: Mapping[str, float] = judge(
            model, dataset.packed, indices, context, params=params, seed=spec.seed, **further
        )
    details: dict[str, Any] = {"images": len(indices), "classes": list(dataset.packed.classes)}
    evaluation = Evaluation(
        eval_id=spec.eval_id(job.spec.run_id),
        run_id=job.spec.run_id,
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        metrics={name: float(value) for name, value in found.items()},
        details=details,
        timings={"total_s": time.perf_counter() - started},
        created=now_iso(),
    )
    if context.shard.rank == 0:
        store.put_evaluation(evaluation)
    return evaluation


def limited(indices: NDArray[np.int64], spec: EvalSpec) -> NDArray[np.int64]:
    """Returns the images that an evaluation sees: all, or a sample of `limit` drawn by its seed, in order.

    The first images would not do: those of a folder are sorted by class.
    """
    if spec.limit is None or spec.limit >= len(indices):
        return indices
    drawn = permutation(spec.seed, "evaluation limit", 0, len(indices))[: spec.limit]
    return indices[np.sort(drawn)]
