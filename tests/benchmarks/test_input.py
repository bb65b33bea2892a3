"""`benchmarks/input.py` in small: both ways see the same images, and what is measured is what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.scripts import load_script


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a few made-up images and no worker processes."""
    module = load_script("benchmarks/input.py", monkeypatch)
    settings = {name: replace(setting, images=24, batch=4) for name, setting in module.SETTINGS.items()}
    for name, value in {"SETTINGS": settings, "WORKERS": (0,), "ROUNDS": 1, "OUR_EPOCHS": 2, "FURTHER": 1}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.delenv("CORETUNE_TEST_DATA", raising=False)
    return module


@pytest.mark.parametrize(
    ("cifar10", "pacs", "loader", "further", "ratio"),
    [
        (40.0, 6.0, 0.01, 0.0, 2.0),
        (9.0, 6.0, 0.01, 0.0, 0.9),
        (40.0, 6.0, 0.1, 0.0, 0.5),
        (40.0, 60.0, 0.01, 0.5, 0.1),
        (40.0, 60.0, 0.01, -0.001, 4.0),
    ],
)
def test_it_reports_the_promise_that_is_kept_worst(
    bench: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    cifar10: float,
    pacs: float,
    loader: float,
    further: float,
    ratio: float,
) -> None:
    speeds = {32: {"ratio": cifar10}, 96: {"ratio": pacs}}
    monkeypatch.setattr(bench, "measure_speed", lambda setting, folder, packed: speeds[setting.side])
    monkeypatch.setattr(bench, "measure_step", lambda setting, packed: {"loader_share": loader})
    monkeypatch.setattr(
        bench, "measure_memory", lambda setting, folder, packed, cache: {"further_process_share": further}
    )
    found = bench.measure()
    assert found["ratio"] == pytest.approx(ratio)
    assert (found["name"], found["goal"], found["better"]) == ("input", 1.0, "higher")


@pytest.mark.slow
def test_all_of_it_is_measured(bench: ModuleType) -> None:
    found: dict[str, Any] = bench.measure()
    detail = found["detail"]
    kept = [
        detail["cifar10"]["ratio"] / 10,
        detail["pacs"]["ratio"] / 3,
        0.05 / max(detail["loader_share"], 1e-3),
        0.05 / max(detail["further_process_share"], 1e-3),
    ]
    assert found["ratio"] == pytest.approx(min(kept), abs=1e-3)
    assert detail["images"] == "made up"
    assert 0 < detail["loader_share"] < 1
    assert detail["further_process_share"] == pytest.approx(0, abs=0.05)
    assert detail["pss_of_one_mb"] == pytest.approx(detail["pack_mb"], rel=0.05)


@pytest.mark.parametrize("name", ["cifar10", "pacs"])
def test_both_ways_have_the_same_images_and_shapes(bench: ModuleType, name: str, tmp_path: Path) -> None:
    setting = bench.SETTINGS[name]
    bench.write_images(name, setting, tmp_path / "images")
    packed = bench.packed_images(tmp_path / "images", setting.side, tmp_path / "cache")
    assert packed.images.shape == (24, setting.side, setting.side, 3)
    files = sorted((tmp_path / "images").glob("*/*"), key=lambda file: f"{file.parent.name}/{file.name}")
    for file, pixels in zip(files, packed.images, strict=True):
        with Image.open(file) as image:
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)
    context = bench.Context(torch.device("cpu"))
    (ours, *_) = bench.sampler(packed, setting).batches(0, 0, context)
    (images, labels), *_ = bench.loader(tmp_path / "images", setting, 0)
    assert ours.views[0].shape == images.shape == (4, 3, setting.side, setting.side)
    assert ours.views[0].dtype == images.dtype == torch.float32
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert labels.shape == ours.labels.shape


def test_real_images_are_read_where_they_are(bench: ModuleType, real_data: Path, tmp_path: Path) -> None:
    for name, setting in bench.SETTINGS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CORETUNE_TEST_DATA", str(real_data))
            bench.write_images(name, setting, tmp_path / name)
        files = list((tmp_path / name).glob("*/*"))
        assert len(files) == 24
        for file in files:
            with Image.open(file) as image:
                assert image.size == (setting.side, setting.side)
