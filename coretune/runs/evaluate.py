"""`evaluate(run, EvalSpec)`: judges a trained model and leaves the result beside the run's record."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from coretune.data.dataset import Dataset
from coretune.data.draws import permutation
from coretune.errors import RequestError
from coretune.nets.model import Model
from coretune.results.files import put_atomic
from coretune.results.record import Evaluation
from coretune.results.store import ResultsStore
from coretune.results.times import now_iso
from coretune.robust.headway import Tell
from coretune.runs.build import open_job_data
from coretune.runs.job import Job
from coretune.runs.trained import load_model
from coretune.spec.components import Catalog, EvaluationComponent
from coretune.spec.run import EvalSpec
from coretune.tuning.context import Context
from coretune.tuning.judgement import Judgement, as_judgement
from coretune.tuning.modes import evaluation_mode, private_random_numbers, seed_random_numbers
from coretune.tuning.precision import autocast


def evaluate(
    job: Job,
    spec: EvalSpec,
    store: ResultsStore,
    catalog: Catalog,
    context: Context,
    *,
    arrays_to: Path | None = None,
) -> Evaluation:
    """Evaluates a recorded run from its weights on disk, and writes the evaluation.

    Args:
        job: The run.
        spec: The evaluation.
        store: Where the run's folder lies.
        catalog: What the names mean.
        context: Device and batch size, and the workers.
        arrays_to: As in `evaluate_model`.

    Raises:
        StorageError: The weights are gone or damaged, or the evaluation cannot be written.
        UnfitError: The data are absent or have changed.
        RequestError: The weights know other classes than the data, or a component has another version here.
    """
    dataset = open_job_data(job, catalog)
    model = load_model(job, spec.weights, dataset, store, catalog, context)
    return evaluate_model(model, dataset, job, spec, store, catalog, context, arrays_to=arrays_to)


def evaluate_model(
    model: Model,
    dataset: Dataset[Any],
    job: Job,
    spec: EvalSpec,
    store: ResultsStore,
    catalog: Catalog,
    context: Context,
    *,
    arrays_to: Path | None = None,
    surrogate: Model | None = None,
    tell: Tell | None = None,
) -> Evaluation:
    """Evaluates a model that is in memory, and writes the evaluation beside its run's record.

    Several workers that trained it together evaluate it together; the first of them writes.

    The model is in evaluation mode meanwhile, without gradients unless the evaluation enables them, and computes in the
    precision that it was trained in, or in fp32 where the evaluation is declared so.

    Args:
        model: On the context's device.
        dataset: The data, split.
        job: The run.
        spec: The evaluation.
        store: Where the run's folder lies.
        catalog: What the names mean.
        context: Device and batch size, and the workers.
        arrays_to: Where the judgement's rows by image are written (safetensors), if it has any; None: nowhere. Of
            several workers each writes those of its own images, number r into `<name>.<r><suffix>`.
        surrogate: The other model, on the context's device, of an evaluation that needs one.
        tell: Is told how far this worker is, by an evaluation that tells.

    Raises:
        StorageError: The evaluation, or what goes to `arrays_to`, cannot be written.
        RequestError: The evaluation has another version here.
    """
    partial = store.partial_evaluation(job.spec.run_id, spec.eval_id(job.spec.run_id))
    evaluation = judge_model(
        model,
        dataset,
        job,
        spec,
        catalog,
        context,
        arrays_to=arrays_to,
        partial=partial,
        surrogate=surrogate,
        tell=tell,
    )
    if context.shard.rank == 0:
        store.put_evaluation(evaluation)
        shutil.rmtree(partial, ignore_errors=True)
    return evaluation


def judge_model(
    model: Model,
    dataset: Dataset[Any],
    job: Job,
    spec: EvalSpec,
    catalog: Catalog,
    context: Context,
    *,
    arrays_to: Path | None = None,
    partial: Path | None = None,
    surrogate: Model | None = None,
    tell: Tell | None = None,
) -> Evaluation:
    """Evaluates a model that is in memory as `evaluate_model` does, and writes no evaluation.

    Args:
        model: On the context's device.
        dataset: The data, split.
        job: The run, or what stands for it.
        spec: The evaluation.
        catalog: What the names mean.
        context: Device and batch size, and the workers.
        arrays_to: As in `evaluate_model`.
        partial: A folder where an evaluation that can go on after a kill keeps what it has done; None: nowhere.
        surrogate: As in `evaluate_model`.
        tell: As in `evaluate_model`.

    Raises:
        StorageError: What goes to `arrays_to` cannot be written.
        RequestError: The evaluation has another version here, or needs a surrogate.
    """
    started = time.perf_counter()
    params = catalog.parameters("evaluation", spec.evaluation)
    component = catalog.get("evaluation", spec.evaluation.name)
    judge = component.load()
    needs = component if isinstance(component, EvaluationComponent) else None
    further = {} if needs is None else _further(needs, dataset, arrays_to, partial, surrogate, tell)
    fixed = needs is not None and needs.precision == "fp32"
    indices = limited(getattr(dataset.split, spec.split), spec)
    with (
        private_random_numbers(context.device),
        evaluation_mode(model),
        torch.no_grad(),
        autocast(context.device, "fp32" if fixed else job.spec.train.precision),
    ):
        seed_random_numbers(spec.seed, context.device)
        found = as_judgement(judge(model, dataset.packed, indices, context, params=params, seed=spec.seed, **further))
    details: dict[str, Any] = {"images": len(indices), "classes": list(dataset.packed.classes)}
    evaluation = Evaluation(
        eval_id=spec.eval_id(job.spec.run_id),
        run_id=job.spec.run_id,
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        metrics={name: float(value) for name, value in found.metrics.items()},
        details=details | dict(found.details),
        timings={"total_s": time.perf_counter() - started},
        created=now_iso(),
    )
    if arrays_to is not None and found.arrays:
        _put_arrays(found, evaluation, arrays_to, context)
    return evaluation


def _further(
    needs: EvaluationComponent,
    dataset: Dataset[Any],
    arrays_to: Path | None,
    partial: Path | None,
    surrogate: Model | None,
    tell: Tell | None,
) -> dict[str, Any]:
    """Returns what an evaluation is given beside the images that it judges on."""
    if needs.surrogate and surrogate is None:
        raise RequestError(f"{needs.name} needs another trained model, which `coretune robust eval` chooses")
    given = {
        "labelled": (needs.labelled, dataset.split.labelled),
        "validation": (needs.validation, dataset.split.validation),
        "rows": (needs.rows, arrays_to is not None),
        "partial": (needs.resumes, partial),
        "surrogate": (needs.surrogate, surrogate),
        "tell": (needs.tells, tell),
    }
    return {name: value for name, (wanted, value) in given.items() if wanted}


def _put_arrays(found: Judgement, evaluation: Evaluation, path: Path, context: Context) -> None:
    if context.shard.workers > 1:
        path = path.with_name(f"{path.stem}.{context.shard.rank}{path.suffix}")
    rows = {name: np.ascontiguousarray(values) for name, values in found.arrays.items()}
    put_atomic(path, save(rows, metadata={"run_id": evaluation.run_id, "eval_id": evaluation.eval_id}))


def limited(indices: NDArray[np.int64], spec: EvalSpec) -> NDArray[np.int64]:
    """Returns the images that an evaluation sees: all, or a sample of `limit` drawn by its seed, in order.

    The first images would not do: those of a folder are sorted by class.
    """
    if spec.limit is None or spec.limit >= len(indices):
        return indices
    drawn = permutation(spec.seed, "evaluation limit", 0, len(indices))[: spec.limit]
    return indices[np.sort(drawn)]
