from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from support.scenes import CLASSES, scenes

import coretune as ct
from coretune.errors import RequestError, StudyError
from coretune.results.store import ResultsStore
from coretune.runs.alone import context_on
from coretune.runs.scenes import predicted_scenes


def tuned(root: Path, out: Path, method: str, data: Mapping[str, int] | None = None) -> ct.TuneResult:
    return ct.tune(
        "voc",
        path=str(root),
        method=method,
        backbone="small_resnet",
        backbone_params={"widths": [8, 16], "stem_stride": 2},
        data={"input_size": 32, **(data or {})},
        train={"epochs": 1, "batch": 4, "lr": 0.05, "schedule": "polynomial"},
        segmentation={"head": "fcn", "pixels": 40},
        out=out,
        device="cpu",
    )


def test_runs_predict_the_same_images(tmp_path: Path) -> None:
    root = scenes(tmp_path / "streets", {"train": 6, "val": 2, "test": 4})
    out = tmp_path / "out"
    results = {method: tuned(root, out, method) for method in ("ce", "core_tuning")}
    for result in results.values():
        assert result.record.status == "completed" and {"miou", "pixel_accuracy"} <= result.test.metrics.keys()
        assert result.record.metrics["last"]["miou"] >= 0 and result.record.spec["task"] == "segmentation"
    again = tuned(root, out, "ce")
    assert again == results["ce"]  # recorded: not trained again
    runs = {method: (result.record.run_id, "last") for method, result in results.items()}
    found, classes = predicted_scenes(ResultsStore(out), runs, context_on("cpu"), images=3, path=str(root))
    assert [each.name for each in found] == ["test00", "test01", "test03"] and classes == CLASSES
    for each in found:
        assert each.image.shape == (*each.truth.shape, 3) and list(each.predicted) == ["ce", "core_tuning"]
        assert all(plane.shape == each.truth.shape and plane.max() < 3 for plane in each.predicted.values())
    # What is drawn is what was scored.
    everything, _ = predicted_scenes(ResultsStore(out), runs, context_on("cpu"), images=9, path=str(root))
    truth = np.concatenate([each.truth.ravel() for each in everything])
    predicted = np.concatenate([each.predicted["ce"].ravel() for each in everything])
    accuracy = 100 * (predicted == truth)[truth != 255].mean()
    assert results["ce"].test.metrics["pixel_accuracy"] == pytest.approx(accuracy)


def test_runs_that_are_tested_on_other_images_are_not_drawn_together(tmp_path: Path) -> None:
    root = scenes(tmp_path / "streets", {"train": 6, "val": 2, "test": 4})
    results = [tuned(root, tmp_path / "out", "ce", data) for data in ({}, {"held_out_limit": 2})]
    runs = {str(place): (result.record.run_id, "last") for place, result in enumerate(results)}
    with pytest.raises(RequestError, match="is tested on other images than the first run"):
        predicted_scenes(ResultsStore(tmp_path / "out"), runs, context_on("cpu"), images=4, path=str(root))


def test_a_backbone_without_fine_maps_is_refused_before_the_data_are_looked_at() -> None:
    with pytest.raises(StudyError, match=r"backbones\.swin_t: backbone swin_t: its feature maps are too coarse"):
        ct.tune("voc", path="/absent", method="ce", backbone="swin_t", device="cpu")


def test_runs_of_images_are_refused(tmp_path: Path) -> None:
    small = {"labels_per_class": 2, "validation": 50, "test": 50, "image_size": 8}
    result = ct.tune(
        "digits", backbone="small_resnet", data=small, train={"epochs": 1}, method="ce", out=tmp_path, device="cpu"
    )
    with pytest.raises(RequestError, match="not for each pixel"):
        predicted_scenes(ResultsStore(tmp_path), {"ce": (result.record.run_id, "last")}, context_on("cpu"), images=1)
