"""What an evaluation returns: numbers alone, or with details that are JSON and rows by image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from coretune.tuning.judgement import Judgement, as_judgement


def test_numbers_alone_are_a_judgement() -> None:
    found = as_judgement({"top1": 50.0})
    assert found.metrics == {"top1": 50.0} and not found.details and not found.arrays


def test_a_judgement_stays_what_it_is() -> None:
    judgement = Judgement({"top1": 50.0}, {"curve": [{"eps": "1/255"}]}, {"index": np.arange(2)})
    assert as_judgement(judgement) is judgement


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"images": 3}, "images, which every evaluation has"),
        ({"images": 3, "classes": []}, "images and classes, which"),
        ({"loss": math.nan}, "need JSON values, and finite numbers"),
        ({"when": object()}, "not JSON serializable"),
    ],
)
def test_details_that_cannot_be_written_are_refused(details: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Judgement({}, details)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows \{'index': 3, 'adversarial': 2\}, need as many of each"):
        Judgement({}, {}, {"index": np.arange(3), "adversarial": np.zeros((2, 4))})
