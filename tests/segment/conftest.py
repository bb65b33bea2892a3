from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.scenes import scenes
from support.segmenting import make_method, make_model

from coretune.data.fingerprint import fingerprint
from coretune.data.mask_dataset import MaskDataset, open_mask_dataset
from coretune.data.source import open_masks
from coretune.segment.task import SegmentationTask
from coretune.spec.catalog import load_catalog
from coretune.spec.run import RunSpec
from coretune.tuning.context import Context
from coretune.tuning.loop import Parts

CONTEXT = Context(device=torch.device("cpu"), tick_s=0.0)
TRAIN = {"epochs": 2, "batch": 4, "contrast_batch": 2, "lr": 0.05, "schedule": "polynomial"}


@pytest.fixture(scope="session")
def scenes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("scenes"), {"train": 8, "val": 3, "test": 3})


@pytest.fixture(scope="session")
def make_spec(scenes_root: Path) -> Callable[..., RunSpec]:
    catalog = load_catalog()
    found = fingerprint(open_masks(catalog, catalog.ref("dataset", "voc"), str(scenes_root)))

    def make(method: str = "ce", **segmentation: Any) -> RunSpec:
        options = {"head": "fcn", "pixels": 40, "scale": [0.75, 1.5]} | segmentation
        return RunSpec.model_validate(
            {
                "task": "segmentation",
                "data": {
                    "dataset": catalog.ref("dataset", "voc").model_dump(),
                    "fingerprint": found,
                    "image_size": 32,
                    "validation": 0.1,
                    "test": 0.1,
                    "augment": {"flip": True},
                },
                "backbone": {"arch": {"name": "small_resnet", "version": 1}},
                "method": {"name": method, "version": 1},
                "train": TRAIN,
                "seed": 7,
                "segmentation": options,
            }
        )

    return make


@pytest.fixture(scope="session")
def dataset(
    make_spec: Callable[..., RunSpec], scenes_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> MaskDataset:
    cache = tmp_path_factory.mktemp("cache")
    return open_mask_dataset(load_catalog(), make_spec().data, str(scenes_root), cache)


@pytest.fixture(scope="session")
def make_parts(make_spec: Callable[..., RunSpec], dataset: MaskDataset) -> Callable[..., Parts]:
    def make(method: str = "ce", **segmentation: Any) -> Parts:
        spec = make_spec(method, **segmentation)
        model = make_model(spec.segmentation)
        return Parts(SegmentationTask(dataset, spec, 1), model, make_method(spec, model), spec.train, spec.seed)

    return make
