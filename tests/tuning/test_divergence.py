from __future__ import annotations

import math

import pytest

from coretune.spec.run import TrainSpec
from coretune.tuning.divergence import likely_cause

FP16 = TrainSpec(lr=0.25, precision="fp16")
FP32 = TrainSpec(lr=0.25)
NAN = {"cross_entropy": 1.0, "contrastive": math.nan}


@pytest.mark.parametrize(
    ("before", "terms", "recipe", "expected"),
    [
        ([2.0, 3.0, 50.0], {}, FP32, "the loss grew from 2 to 50 in 2 steps: train.lr = 0.25 is probably too high"),
        ([2.0, 50.0], {}, FP16, "is probably too high"),
        ([2.0, 2.1], {}, FP16, "fp16 probably overflowed: try train.precision = bf16"),
        ([], {}, FP16, "fp16 probably overflowed"),
        ([2.0, 2.1], NAN, FP32, "the term contrastive broke; it was 2.1 the step before"),
        (
            [2.0],
            {},
            FP32,
            "it was 2 the step before: train.lr = 0.25 is probably too high, or a parameter of the method",
        ),
        (
            [],
            NAN,
            FP32,
            "the term contrastive broke; it is the first step, before any update: a parameter of the method",
        ),
        ([2.0], {"one": math.nan, "other": math.inf}, FP32, "it was 2 the step before"),
    ],
)
def test_the_cause_is_named(before: list[float], terms: dict[str, float], recipe: TrainSpec, expected: str) -> None:
    cause = likely_cause(before, terms, recipe)
    assert cause.startswith(expected) or expected in cause
    assert "\n" not in cause


def test_without_an_update_the_learning_rate_is_not_blamed() -> None:
    assert "train.lr" not in likely_cause([], NAN, FP32)
