from __future__ import annotations

import re

import numpy as np
import pytest

from coretune.data.learnable import TRAINING, unlearnable

CLASSES = ("sky", "road")
VOID, SKY, ROAD, BOTH = [0, 0], [5, 0], [0, 3], [1, 1]


@pytest.mark.parametrize(
    "counts, said",
    [
        ([BOTH, SKY, ROAD], []),
        ([SKY, ROAD, ROAD], ["all pixels of the training part are of class sky or void: .* write white as 1"]),
        ([ROAD, ROAD, SKY], ["all pixels of the training part are of class road or void: nothing to tell apart$"]),
        ([VOID, ROAD, SKY], ["no pixel of any class in the 1 masks of the training part: all are 255, void"]),
        ([BOTH, VOID, VOID], ["validation part", "test part"]),
    ],
)
def test_each_part_needs_a_pixel_and_training_two_classes(counts: list[list[int]], said: list[str]) -> None:
    parts = {name: np.array([index]) for index, name in enumerate((TRAINING, "validation", "test"))}
    found = list(unlearnable(np.array(counts), parts, CLASSES))
    assert len(found) == len(said)
    assert all(re.search(pattern, text) for text, pattern in zip(found, said, strict=True)), found


def test_an_empty_part() -> None:
    parts = {TRAINING: np.array([0]), "test": np.zeros(0, dtype=np.int64)}
    assert list(unlearnable(np.array([BOTH]), parts, CLASSES)) == ["no image in the test part"]
