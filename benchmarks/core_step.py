"""What a step of Core-tuning costs over a step of CE-tuning with the same net, batch, optimiser and loop.

    python benchmarks/core_step.py

Both are steps of `train(parts, context)` on a batch that is made once: forward pass by contrast batches of 64, hard
pairs, heads, losses, backward pass and update; no augmentation, which would favour us. Two nets: ResNet-18 at 64 px
with a batch of 64, and the CIFAR ResNet-20 at 32 px with a batch of 256. The methods take turns step by step, every
other round the other way round; a net's ratio is the median over rounds of one's step to the other's, and `ratio` is
the worse of the two nets'.

On a CPU that is done on one thread and compares CPU time, which for one thread that never waits is the wall time of
an idle machine; `ratio_wall` is the same of wall times. On a GPU, which is taken if there is one, it is wall time.

`alone` is `hard_pairs`, `soft_cross_entropy` and `focal_contrastive` without any layer, forward and backward, for 256
samples of 2,048 features and 100 classes with projections of 256: milliseconds of wall time on all cores, median and
best, and of CPU time on one thread. The goal is 15 ms on two cores.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from coretune.nets.model import Model
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Catalog
from coretune.spec.run import TrainSpec
from coretune.tuning.context import Context
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.loop import Parts, Training, train
from coretune.tuning.losses import focal_contrastive, soft_cross_entropy
from coretune.tuning.method import Examples, LossTerms, Method
from coretune.tuning.mixup import hard_pairs
from coretune.tuning.task import Batch, Moment

GOAL, ALONE_GOAL_MS = 1.05, 15.0
ROUNDS = {"cpu": 30, "cuda": 150}
WARM_ROUNDS, ALONE_REPEATS = 2, 60
CLASSES, CONTRAST_BATCH = 10, 64
METHODS = ("core_tuning", "ce")
NETS: dict[str, tuple[str, dict[str, object], int, int]] = {
    "resnet18_64px_batch64": ("resnet18", {}, 64, 64),
    "resnet20_32px_batch256": ("resnet20", {}, 32, 256),
}
"""Architecture, its parameters, pixels, batch."""


class OneBatch:
    """A task that brings the same batch in every step."""

    objective: tuple[str, Literal["max", "min"]] | None = None

    def __init__(self, batch: Batch, recipe: TrainSpec) -> None:
        self._batch = batch
        self._recipe = recipe

    def steps(self) -> int:
        """Returns more steps than are ever taken."""
        return 10**6

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        """Yields the batch again and again."""
        while True:
            yield self._batch

    def examples(self, context: Context) -> Examples:
        """Has none: no method that is measured here asks."""
        raise NotImplementedError

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        """Returns the loss of the batch."""
        return contrast_loss(model, batch, method, self._recipe, moment, context)

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns nothing."""
        return {}


def training(catalog: Catalog, net: str, name: str, device: torch.device) -> Training:
    """Returns a training of this net by this method, whose every `next` is one step."""
    arch, params, pixels, size = NETS[net]
    torch.manual_seed(0)
    ref = catalog.ref("backbone", arch, params)
    encoder = catalog.get("backbone", arch).load()(catalog.parameters("backbone", ref))
    parameters = catalog.parameters("method", catalog.ref("method", name))
    method = catalog.get("method", name).load()(parameters, features=encoder.features, classes=CLASSES)
    method.prepare(encoder)
    recipe = TrainSpec(batch=size, contrast_batch=CONTRAST_BATCH, lr=1e-3)
    order = torch.arange(size, device=device)
    batch = Batch((torch.rand(size, 3, pixels, pixels).to(device),), order % CLASSES, order)
    model = Model(encoder, method.classifier).to(device)
    parts = Parts(OneBatch(batch, recipe), model, method.to(device), recipe, seed=0)
    return train(parts, Context(device, tick_s=0.0))


def measure_steps(catalog: Catalog, net: str, device: torch.device) -> dict[str, float]:
    """Steps both methods in turn."""
    trainings = {name: training(catalog, net, name, device) for name in METHODS}
    cpu: dict[str, list[float]] = {name: [] for name in METHODS}
    wall: dict[str, list[float]] = {name: [] for name in METHODS}
    for round_number in range(WARM_ROUNDS + ROUNDS[device.type]):
        # Every other round the other way round: whoever follows finds the caches of another.
        for name in METHODS if round_number % 2 else METHODS[::-1]:
            start = time.process_time(), time.perf_counter()
            next(trainings[name])  # a step's loss is looked at before its tick, so that a GPU has been waited for
            took = time.process_time() - start[0], time.perf_counter() - start[1]
            if round_number >= WARM_ROUNDS:
                cpu[name].append(took[0])
                wall[name].append(took[1])

    def ratio(seconds: dict[str, list[float]]) -> float:
        pairs = zip(*(seconds[name] for name in METHODS), strict=True)
        return round(float(statistics.median(one / other for one, other in pairs)), 4)

    compared = cpu if device.type == "cpu" else wall
    return {
        "ratio": ratio(compared),
        "ratio_wall": ratio(wall),
        **{f"{name}_ms": round(1000 * statistics.median(compared[name]), 2) for name in METHODS},
    }


def alone(device: torch.device) -> Callable[[], None]:
    """Returns the pairs and the losses of one contrast batch, without any layer, forward and backward."""
    n, width, classes, projected = 256, 2048, 100, 256
    draws = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws).to(device)

    features = normal(n, width).relu().requires_grad_()
    labels = torch.randint(classes, (n,), generator=draws).to(device)
    logits = normal(3 * n, classes).requires_grad_()
    z = functional.normalize(normal(3 * n, projected), dim=1).requires_grad_()
    from_layers = normal(3 * n, width)

    def run() -> None:
        pairs = hard_pairs(features, labels, classes, generator=draws, validate=False)
        loss = soft_cross_entropy(logits, pairs.targets, validate=False)
        loss = loss + focal_contrastive(
            z, pairs.groups, anchors=pairs.anchors, owner=pairs.owner, temperature=0.07, validate=False
        )
        torch.autograd.grad([loss, pairs.features], [features, logits, z], [None, from_layers])
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def measure_alone(device: torch.device) -> dict[str, float]:
    """Times the pairs and the losses alone, on all cores and on one; leaves one."""
    run = alone(device)

    def times(threads: int, clock: Callable[[], float]) -> list[float]:
        torch.set_num_threads(threads)
        found = []
        for _ in range(WARM_ROUNDS + ALONE_REPEATS):
            start = clock()
            run()
            found.append(1000 * (clock() - start))
        return found[WARM_ROUNDS:]

    wall = times(os.cpu_count() or 1, time.perf_counter)
    return {
        "median_ms": round(statistics.median(wall), 2),
        "best_ms": round(min(wall), 2),
        "one_thread_cpu_ms": round(statistics.median(times(1, time.process_time)), 2),
        "goal_ms": ALONE_GOAL_MS,
    }


def measure() -> dict[str, object]:
    """Measures both nets, and the pairs and losses alone."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    catalog = load_catalog()
    of_alone = measure_alone(device)
    steps = {net: measure_steps(catalog, net, device) for net in NETS}
    return {
        "name": "core_step",
        "ratio": max(found["ratio"] for found in steps.values()),
        "goal": GOAL,
        "better": "lower",
        "rival": "a CE-tuning step with the same net, batch, optimiser and loop",
        "detail": {
            "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {os.cpu_count()} cores",
            "rounds": ROUNDS[device.type],
            **steps,
            "alone": of_alone,
        },
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
