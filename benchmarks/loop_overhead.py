"""What our training loop costs over a bare PyTorch loop with the same model, data, augmentation and optimiser.

    python benchmarks/loop_overhead.py

Ours is `train(parts, context)`: exact resume, counter-based random numbers, ticks, means of every term, the first step
that is not finite, best epoch. The rival is what one writes by hand: a permutation, `augment`, cross-entropy, SGD with
a cosine, and after every epoch accuracy and cross-entropy on the validation part; it knows nothing else. It has the
fused optimiser as ours has; `ratio_default_optimizer` is against torch's default (not fused on a CPU), as most loops
have it. All of them train the quickstart's net on real digits, epoch by epoch in turn, on one thread; the ratio is the
median over epochs of ours to the rival's next to it. What is compared is CPU time, which for one thread that never
waits is the wall time of an idle machine; `ratio_wall` is the same of wall times, as disturbed as the machine is.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional

from coretune.data.augment import augment, streams, to_float
from coretune.data.dataset import Dataset, open_dataset
from coretune.data.fingerprint import fingerprint
from coretune.data.roots import cache_root
from coretune.data.source import open_source
from coretune.nets.model import Model
from coretune.nets.small_resnet import SmallResNet
from coretune.spec.augment import AugmentSpec
from coretune.spec.catalog import load_catalog
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.components import NoParameters
from coretune.spec.run import BackboneSpec, DataSpec, RunSpec, TrainSpec
from coretune.tuning.classification import ClassificationTask
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Parts, train
from coretune.tuning.methods.cross_entropy import CrossEntropy

GOAL = 1.03
TRAININGS, EPOCHS, WARM_EPOCHS = 3, 22, 2
LABELS_PER_CLASS, BATCH = 20, 50


def describe() -> tuple[RunSpec, Dataset]:
    """Returns the run and its data: 200 labelled digits of 16 px, 200 for validation."""
    catalog = load_catalog()
    ref = catalog.ref("dataset", "digits")
    data = DataSpec(
        dataset=ref,
        fingerprint=fingerprint(open_source(catalog, ref, None)),
        image_size=16,
        validation=200,
        test=600,
        labels_per_class=LABELS_PER_CLASS,
        augment=AugmentSpec.model_validate(dict(catalog.dataset("digits").augment)),
    )
    spec = RunSpec(
        data=data,
        backbone=BackboneSpec(arch=catalog.ref("backbone", "small_resnet")),
        method=catalog.ref("method", "ce"),
        train=TrainSpec(epochs=EPOCHS, batch=BATCH, contrast_batch=BATCH, lr=0.03),
        seed=0,
    )
    return spec, open_dataset(catalog, data, None, cache_root())


def make_model(spec: RunSpec) -> tuple[Model, CrossEntropy]:
    """Returns the net that all start from."""
    torch.manual_seed(spec.seed)
    encoder = SmallResNet(SmallResNetParameters())
    method = CrossEntropy(NoParameters(), features=encoder.features, classes=10)
    return Model(encoder, method.classifier), method


def ours(spec: RunSpec, data: Dataset) -> Iterator[float]:
    """Yields the validation cross-entropy after every epoch of our loop."""
    model, method = make_model(spec)
    parts = Parts(ClassificationTask(data, spec, method.views), model, method, spec.train, spec.seed, keep_best=False)
    for event in train(parts, Context(torch.device("cpu"))):
        if isinstance(event, EpochReport):
            yield event.metrics["cross_entropy"]


def bare(spec: RunSpec, data: Dataset, *, fused: bool | None) -> Iterator[float]:
    """Yields the validation cross-entropy after every epoch of a loop written by hand."""
    model, _ = make_model(spec)
    recipe, columns = spec.train, sum(streams(spec.data.augment).values())
    images, labels = torch.from_numpy(data.packed.images.copy()), torch.from_numpy(data.packed.labels)
    labelled, validation = torch.from_numpy(data.split.labelled), torch.from_numpy(data.split.validation)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )
    steps = recipe.epochs * math.ceil(len(labelled) / recipe.batch)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in range(recipe.epochs):
        model.train()
        total = torch.zeros(())
        for chosen in labelled[torch.randperm(len(labelled))].split(recipe.batch):
            batch = augment(images[chosen], torch.rand(len(chosen), columns), spec.data.augment)
            loss = functional.cross_entropy(model(batch), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.detach()
        yield judge(model, images[validation], labels[validation])


@torch.no_grad()
def judge(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Returns the cross-entropy on some images (and counts the hits, as everybody does)."""
    model.eval()
    hits, losses = 0, 0.0
    for pixels, wanted in zip(images.split(256), labels.split(256), strict=True):
        logits = model(to_float(pixels))
        hits += int((logits.argmax(1) == wanted).sum())
        losses += float(functional.cross_entropy(logits, wanted, reduction="sum"))
    return losses / len(labels)


def measure() -> dict[str, object]:
    """Steps all loops in turn and compares epoch by epoch."""
    torch.set_num_threads(1)
    spec, data = describe()
    loops: dict[str, Callable[[], Iterator[float]]] = {
        "coretune": lambda: ours(spec, data),
        "bare": lambda: bare(spec, data, fused=True),
        "default": lambda: bare(spec, data, fused=None),
    }
    cpu: dict[str, list[float]] = {name: [] for name in loops}
    wall: dict[str, list[float]] = {name: [] for name in loops}
    last: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(TRAININGS):
        running = {name: make() for name, make in loops.items()}
        for epoch in range(EPOCHS):
            # Every other epoch the other way round: whoever follows finds the caches of another.
            for name in list(loops) if epoch % 2 else list(loops)[::-1]:
                start = time.process_time(), time.perf_counter()
                score = next(running[name])
                took = time.process_time() - start[0], time.perf_counter() - start[1]
                if epoch >= WARM_EPOCHS:
                    cpu[name].append(took[0])
                    wall[name].append(took[1])
                if epoch == EPOCHS - 1:
                    last[name].append(score)

    def ratio(seconds: dict[str, list[float]], rival: str) -> float:
        pairs = zip(seconds["coretune"], seconds[rival], strict=True)
        return round(statistics.median(one / other for one, other in pairs), 4)

    return {
        "name": "loop_overhead",
        "ratio": ratio(cpu, "bare"),
        "goal": GOAL,
        "better": "lower",
        "rival": "a bare PyTorch loop, same model, data, augmentation, fused SGD and evaluations",
        "detail": {
            "ratio_wall": ratio(wall, "bare"),
            "ratio_default_optimizer": ratio(cpu, "default"),
            "epochs": len(cpu["coretune"]),
            "steps_per_epoch": LABELS_PER_CLASS * 10 // BATCH,
            "epoch_cpu_ms": {name: round(1000 * statistics.median(found), 2) for name, found in cpu.items()},
            "epoch_wall_ms": {name: round(1000 * statistics.median(found), 2) for name, found in wall.items()},
            "cross_entropy": {name: [round(value, 3) for value in found] for name, found in last.items()},
        },
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
