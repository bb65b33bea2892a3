from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coretune.segment.labels import majority_labels


def slow_label(block: np.ndarray, classes: int, purity: float) -> int:
    shares = [float((block == c).sum()) / block.size for c in range(classes)]
    best = max(range(classes), key=lambda c: (shares[c], -c))
    return best if shares[best] > 0 and shares[best] >= purity - 1e-6 else 255


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 13), st.integers(1, 13), st.data(), st.sampled_from([0.0, 0.5, 0.75, 1.0])
)
def test_labels_are_those_of_most_pixels(
    seed: int, height: int, width: int, data: st.DataObject, purity: float
) -> None:
    size = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    masks = np.random.default_rng(seed).choice([0, 1, 2, 255], (2, height, width))
    found = majority_labels(torch.from_numpy(masks), size, 3, purity)
    for n in range(2):
        for i in range(size[0]):
            for j in range(size[1]):
                rows = slice(i * height // size[0], math.ceil((i + 1) * height / size[0]))
                columns = slice(j * width // size[1], math.ceil((j + 1) * width / size[1]))
                assert found[n, i, j] == slow_label(masks[n, rows, columns], 3, purity)


def test_void_makes_a_position_impure() -> None:
    masks = torch.tensor([[[1, 1], [255, 255]]])
    assert majority_labels(masks, (1, 1), 3, 0.5).item() == 1
    assert majority_labels(masks, (1, 1), 3, 0.6).item() == 255


def test_a_floor_that_is_met_exactly_is_met() -> None:
    masks = torch.zeros(1, 7, 7, dtype=torch.int64)
    masks[0, 0, :] = 1  # 42 of 49
    assert majority_labels(masks, (1, 1), 2, 42 / 49).item() == 0


@pytest.mark.parametrize("images", [0, 1])
def test_shapes(images: int) -> None:
    found = majority_labels(torch.zeros(images, 8, 8, dtype=torch.int64), (2, 4), 2, 0.5)
    assert found.shape == (images, 2, 4) and found.dtype == torch.int64
