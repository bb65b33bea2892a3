"""Small trainings: images of a few pixels in memory, real digits, a net of one convolution, all on one thread."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coretune.data.dataset import Dataset
from coretune.data.fingerprint import fingerprint
from coretune.data.pack import Packed
from coretune.data.source import Domains, open_source
from coretune.data.splits import Split
from coretune.nets.model import Model
from coretune.runs.build import task_maker
from coretune.runs.job import Job
from coretune.spec.adversary import AdversarySpec
from coretune.spec.augment import AugmentSpec
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Catalog, Kind
from coretune.spec.run import BackboneSpec, DataSpec, EvalSpec, RunSpec, TrainSpec
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Parts, Training
from coretune.tuning.method import Method
from coretune.tuning.task import Task

CPU = torch.device("cpu")
CLASSES = 3
AUGMENT = AugmentSpec(crop_scale=(0.5, 1.0), flip=True, brightness=0.2)


class TinyNet(nn.Module):
    """Convolution, batch norm, perhaps dropout, pooling: (n, 3, H, W) → (n, features)."""

    def __init__(self, features: int = 6, dropout: float = 0.0, stride: int = 1) -> None:
        super().__init__()
        self.features = features
        self.conv = nn.Conv2d(3, features, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.dropout(torch.relu(self.norm(self.conv(images))))
        return hidden.mean((2, 3))


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The shipped catalog."""
    return load_catalog()


def toy_dataset(labelled: int = 20, validation: int = 12, unlabelled: int = 0, seed: int = 0) -> Dataset:
    """Noise with a colour per class, 8×8 pixels, of two domains: labelled, then unlabelled, then validation images."""
    draws = np.random.default_rng(seed)
    n = labelled + unlabelled + validation
    labels = np.arange(n, dtype=np.int64) % CLASSES
    images = draws.integers(0, 120, (n, 8, 8, 3), dtype=np.uint8)
    images[np.arange(n), :, :, labels] += 100
    packed = Packed(
        images, labels, np.zeros(n, np.int8), ("a", "b", "c"), tuple(f"toy/{i}" for i in range(n)), "0" * 64
    )
    part = np.arange(n, dtype=np.int64)
    return Dataset(
        packed,
        Split(
            train=part[: labelled + unlabelled],
            labelled=part[:labelled],
            validation=part[labelled + unlabelled :],
            test=part[:0],
        ),
        Domains(("photo", "sketch"), part // 2 % 2),
    )


def toy_spec(
    method: str = "ce",
    *,
    seed: int = 3,
    params: Mapping[str, Any] | None = None,
    adversary: Mapping[str, Any] | None = None,
    **train: Any,
) -> RunSpec:
    """The description of a toy run; `train` are keys of the recipe."""
    kind: Kind = "pretraining" if method == "moco_v2" else "method"
    recipe = {"epochs": 3, "batch": 8, "contrast_batch": 4, "lr": 0.05, **train}
    return RunSpec(
        task="pretraining" if kind == "pretraining" else "classification",
        data=DataSpec(
            dataset=catalog().ref("dataset", "digits"),
            fingerprint="0" * 64,
            image_size=8,
            validation=12,
            test=0,
            augment=AUGMENT,
        ),
        backbone=BackboneSpec(arch=catalog().ref("backbone", "small_resnet")),
        method=catalog().ref(kind, method, params),
        train=TrainSpec.model_validate(recipe),
        seed=seed,
        adversary=None if adversary is None else AdversarySpec.model_validate(adversary),
    )


def toy_method(spec: RunSpec, encoder: TinyNet) -> Method:
    """The method of a toy run, prepared."""
    kind: Kind = "pretraining" if spec.task == "pretraining" else "method"
    component = catalog().get(kind, spec.method.name)
    made: Method = component.load()(catalog().parameters(kind, spec.method), features=encoder.features, classes=CLASSES)
    made.tell_domains(2)
    made.prepare(encoder)
    return made


def toy_parts(
    spec: RunSpec, dataset: Dataset | None = None, *, dropout: float = 0.0, dtype: torch.dtype = torch.float32
) -> Parts:
    """The parts of a toy run at the start of its training."""
    data = toy_dataset() if dataset is None else dataset
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        encoder = TinyNet(dropout=dropout)
        method = toy_method(spec, encoder)
    model = Model(encoder, method.classifier)
    model.to(dtype=dtype)
    method.to(dtype=dtype)
    task: Task = task_maker(spec)(data, spec, method.views, whole_images=method.whole_images, regroups=method.regroups)
    return Parts(task, model, method, spec.train, spec.seed)


def context(**options: Any) -> Context:
    """A context on the CPU; ticks never come by default."""
    return Context(**{"device": CPU, "tick_s": 1e9, **options})


def reports(training: Training) -> list[EpochReport]:
    """Runs a training to its end; returns its epoch reports."""
    return [event for event in training if isinstance(event, EpochReport)]


def through_disk(state: dict[str, Any]) -> dict[str, Any]:
    """A state as another process sees it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def tensors_of(parts: Parts) -> dict[str, Tensor]:
    """All weights and buffers of a training, copied."""
    found = {**parts.model.state_dict(), **{f"method.{k}": v for k, v in parts.method.state_dict().items()}}
    return {name: value.clone() for name, value in found.items()}


def assert_same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Both are equal bit for bit."""
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, different


@lru_cache(maxsize=1)
def digits_fingerprint() -> str:
    """The fingerprint of scikit-learn's digits."""
    return fingerprint(open_source(catalog(), catalog().ref("dataset", "digits"), None))


def digits_spec(
    method: str = "ce", *, seed: int = 3, params: Mapping[str, Any] | None = None, weights: str = "random", **train: Any
) -> RunSpec:
    """The description of a run of a second or less on real digits at 8 px."""
    kind: Kind = "pretraining" if method == "moco_v2" else "method"
    recipe = {"epochs": 2, "batch": 10, "contrast_batch": 10, "lr": 0.05, **train}
    return RunSpec(
        task="pretraining" if kind == "pretraining" else "classification",
        data=DataSpec(
            dataset=catalog().ref("dataset", "digits"),
            fingerprint=digits_fingerprint(),
            image_size=8,
            validation=50,
            test=60,
            labels_per_class=2,
            augment=AugmentSpec(crop_scale=(0.8, 1.0)),
        ),
        backbone=BackboneSpec(arch=catalog().ref("backbone", "small_resnet", {"widths": [4, 8]}), weights=weights),
        method=catalog().ref(kind, method, params),
        train=TrainSpec.model_validate(recipe),
        seed=seed,
    )


def digits_job(spec: RunSpec | None = None, *, evaluations: tuple[EvalSpec, ...] | None = None, **job: Any) -> Job:
    """A job of `digits_spec`, evaluated on the test part by default."""
    wanted = (accuracy_evaluation(),) if evaluations is None else evaluations
    return Job(spec=spec or digits_spec(), evaluations=wanted, **job)


def accuracy_evaluation(**options: Any) -> EvalSpec:
    """The evaluation of final runs."""
    return EvalSpec(evaluation=catalog().ref("evaluation", "classification"), **options)
