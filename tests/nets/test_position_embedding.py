"""Position embeddings for another grid of patches: bicubic interpolation written out, and what stays."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.errors import RequestError
from coretune.nets.position_embedding import resize_position_embedding
from coretune.nets.torchvision_vit import vit_b_16
from coretune.spec.catalog.backbones import VisionTransformerParameters

torch.set_num_threads(1)
SHARPNESS = -0.75
"""Keys' constant, as in torch."""


def weight(distance: float) -> float:
    """Keys' cubic convolution kernel."""
    x, a = abs(distance), SHARPNESS
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def reference(grid: Tensor, rows: int, columns: int) -> Tensor:
    """(s, s, d) → (rows, columns, d), by loops; positions beyond the edge repeat it."""
    old = grid.shape[0]
    found = torch.zeros(rows, columns, grid.shape[2], dtype=grid.dtype)
    for row in range(rows):
        for column in range(columns):
            at = [(place + 0.5) * old / side - 0.5 for place, side in ((row, rows), (column, columns))]
            for i in range(math.floor(at[0]) - 1, math.floor(at[0]) + 3):
                for j in range(math.floor(at[1]) - 1, math.floor(at[1]) + 3):
                    value = grid[min(max(i, 0), old - 1), min(max(j, 0), old - 1)]
                    found[row, column] += weight(at[0] - i) * weight(at[1] - j) * value
    return found


@settings(max_examples=25)
@given(
    old=st.integers(1, 5),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    prefix=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_it_is_bicubic_interpolation_of_the_grid_alone(
    old: int, rows: int, columns: int, prefix: int, seed: int
) -> None:
    drawn = torch.Generator().manual_seed(seed)
    embedding = torch.randn(1, prefix + old * old, 3, dtype=torch.float64, generator=drawn)
    found = resize_position_embedding(embedding, rows, columns, prefix=prefix)
    assert found.shape == (1, prefix + rows * columns, 3)
    assert torch.equal(found[:, :prefix], embedding[:, :prefix])
    expected = reference(embedding[0, prefix:].view(old, old, 3), rows, columns)
    torch.testing.assert_close(found[0, prefix:], expected.view(-1, 3), rtol=1e-10, atol=1e-10)


def test_the_same_grid_stays_and_half_precision_is_computed_in_single() -> None:
    embedding = torch.randn(1, 10, 4, generator=torch.Generator().manual_seed(0))
    assert resize_position_embedding(embedding, 3, 3) is embedding
    half = embedding.to(torch.bfloat16)
    found = resize_position_embedding(half, 7, 5)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, resize_position_embedding(half.float(), 7, 5).to(torch.bfloat16))


def test_what_is_no_square_grid_is_refused() -> None:
    for shape in ((1, 9, 4), (1, 1, 4), (2, 10, 4)):
        with pytest.raises(RequestError, match=r"is no square grid behind 1 positions"):
            resize_position_embedding(torch.zeros(shape), 3, 3)


def test_it_fits_a_net_for_images_of_another_size() -> None:
    with torch.device("meta"):
        small, large = (vit_b_16(VisionTransformerParameters(image_size=side)) for side in (224, 384))
    side = large.input_size // large.patch
    resized = resize_position_embedding(small.encoder.pos_embedding, side, side)
    assert resized.shape == large.encoder.pos_embedding.shape
