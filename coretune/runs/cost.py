"""What a run would cost: a few of its steps are trained and timed, and nothing is written."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from coretune.errors import UnfitError
from coretune.results.store import ResultsStore
from coretune.runs.build import build_parts, open_job_data
from coretune.runs.job import Job
from coretune.spec.components import Catalog
from coretune.tuning.context import Context
from coretune.tuning.loop import Parts, Training, train
from coretune.tuning.modes import evaluation_mode, private_random_numbers
from coretune.tuning.precision import autocast

PROBE_S = 3.0
WARM_UP = 2


@dataclass(frozen=True)
class RunCost:
    """What one run takes, alone on its machine.

    Attributes:
        seconds: Of the whole run: training, and evaluations on the validation part.
        images_per_s: Of its training.
        gpu_mb: Peak of the GPU memory that tensors hold, in MiB; None on a CPU.
    """

    seconds: float
    images_per_s: float
    gpu_mb: float | None = None


def run_cost(job: Job, catalog: Catalog, context: Context, *, probe_s: float = PROBE_S) -> RunCost:
    """Trains a run's first steps, from random weights, and extrapolates. The data are packed if they are not yet.

    What a method does before the first step (`Method.begin`) is neither done nor counted.

    Args:
        job: The run.
        catalog: What its names mean.
        context: Where it would run.
        probe_s: How long to measure, after a warm-up of `WARM_UP` steps.

    Raises:
        UnfitError: The data are absent, or there is none to train on.
        RequestError: A component has another version here.
        DivergedError: The first losses are not finite.
    """
    spec = job.spec
    random = spec.replace(backbone=spec.backbone.replace(weights="random"))
    dataset = open_job_data(job, catalog)
    parts = build_parts(Job(random), dataset, ResultsStore(Path()), catalog, context)
    parts.method.looks_first = False
    if context.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(context.device)
    rate = _images_per_s(train(parts, replace(context, tick_s=0.0)), probe_s)
    evaluation_s = _evaluation_seconds(parts, context)
    images = len(dataset.split.labelled if spec.task != "pretraining" else dataset.split.train)
    evaluations = math.ceil(spec.train.epochs / spec.train.evaluate_every)
    memory = torch.cuda.max_memory_allocated(context.device) / 2**20 if context.device.type == "cuda" else None
    return RunCost(spec.train.epochs * images / rate + evaluations * evaluation_s, rate, memory)


def _images_per_s(training: Training, probe_s: float) -> float:
    """Steps a training until there is enough to tell; the evaluations between its epochs do not count."""
    warm = last = None
    for number, event in enumerate(training):
        last = event
        if number < WARM_UP:
            warm = event
        elif warm is not None and event.seconds - warm.seconds >= probe_s:
            break
    training.close()
    if last is None or warm is None:
        raise UnfitError("there is no image to train on")
    if last is warm:  # the training is no longer than the warm-up
        return last.images / max(last.seconds, 1e-9)
    return (last.images - warm.images) / max(last.seconds - warm.seconds, 1e-9)


def _evaluation_seconds(parts: Parts, context: Context) -> float:
    started = time.perf_counter()
    with (
        private_random_numbers(context.device),
        evaluation_mode(parts.model, parts.method),
        torch.no_grad(),
        autocast(context.device, parts.train.precision),
    ):
        parts.task.evaluate(parts.model, context)
    return time.perf_counter() - started
