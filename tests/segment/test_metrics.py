from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coretune.segment.metrics import ConfusionMatrix, class_metrics
from coretune.tuning.shard import Shard

CPU = torch.device("cpu")
NAMES = ("sky", "road", "car", "tree")


def slow_metrics(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Counts pixel by pixel, class by class."""
    known = [(int(p), int(t)) for p, t in zip(predicted.ravel(), truth.ravel(), strict=True) if t != 255]
    found, ious = {}, []
    for c, name in enumerate(NAMES):
        both = sum(p == c and t == c for p, t in known)
        either = sum(p == c or t == c for p, t in known)
        if either:
            ious.append(both / either)
            found[f"iou_{name}"] = 100 * ious[-1]
    right = sum(p == t for p, t in known)
    return {"miou": 100 * sum(ious) / len(ious), "pixel_accuracy": 100 * right / len(known)} | found


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_metrics_are_those_of_whole_images_however_they_are_cut(seed: int, cuts: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 3, (4, 5, 6))  # the fourth class is never predicted
    truth = rng.choice([0, 1, 3, 255] if seed % 2 else [0, 1, 2, 255], (4, 5, 6), p=[0.4, 0.3, 0.2, 0.1])
    matrix = ConfusionMatrix(4, CPU)
    for part in np.array_split(np.arange(4 * 5 * 6), cuts):
        matrix.update(torch.from_numpy(predicted.ravel()[part]), torch.from_numpy(truth.ravel()[part]))
    assert matrix.compute(NAMES) == pytest.approx(slow_metrics(predicted, truth))


def test_a_class_in_no_truth_and_no_prediction_is_left_out() -> None:
    matrix = ConfusionMatrix(4, CPU)
    matrix.update(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))
    found = matrix.compute(NAMES)
    assert found == pytest.approx({"miou": 50.0, "pixel_accuracy": 200 / 3, "iou_sky": 50.0, "iou_road": 50.0})


def test_a_class_that_is_only_predicted_counts_with_zero() -> None:
    matrix = ConfusionMatrix(4, CPU)
    matrix.update(torch.tensor([0, 3]), torch.tensor([0, 0]))
    assert matrix.compute(NAMES) == pytest.approx(
        {"miou": 25.0, "pixel_accuracy": 50.0, "iou_sky": 50.0, "iou_tree": 0.0}
    )


def test_void_counts_nowhere() -> None:
    matrix = ConfusionMatrix(4, CPU)
    matrix.update(torch.tensor([0, 1, 2]), torch.tensor([0, 255, 255], dtype=torch.uint8))
    assert matrix.counts().sum() == 1
    assert matrix.compute(NAMES)["miou"] == 100.0


class Together:
    """Stands for the workers of a training: adds what the other one has."""

    def __init__(self, other: torch.Tensor) -> None:
        self.other = other

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.other


def test_workers_sum_one_matrix() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(0, 4, (2, 30)), rng.integers(0, 4, (2, 30))
    other = ConfusionMatrix(4, CPU)
    other.update(torch.from_numpy(predicted[1]), torch.from_numpy(truth[1]))
    own = ConfusionMatrix(4, CPU, cast(Shard, Together(other.counts().flatten())))
    own.update(torch.from_numpy(predicted[0]), torch.from_numpy(truth[0]))
    assert own.compute(NAMES) == pytest.approx(slow_metrics(predicted, truth))


def test_metrics_of_no_labelled_pixel_are_refused() -> None:
    matrix = ConfusionMatrix(4, CPU)
    matrix.update(torch.tensor([0]), torch.tensor([255]))
    with pytest.raises(ValueError, match="no labelled pixel"):
        matrix.compute(NAMES)


def test_names_of_classes_become_names_of_metrics() -> None:
    assert class_metrics(["traffic light", "Sky", "---"]) == ["iou_traffic_light", "iou_Sky", "iou__"]
    assert class_metrics(["a b", "a-b", "c"]) == ["iou_a_b_0", "iou_a_b_1", "iou_c"]
