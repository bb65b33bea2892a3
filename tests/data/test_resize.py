from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from coretune.data.resize import square


def gradient(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack((columns * 255 / (width - 1), rows * 255 / (height - 1), 0 * rows), axis=2).astype(np.uint8)


def test_the_right_size_is_left_alone() -> None:
    image = gradient(16, 16)
    assert square(image, 16, crop=True) is image


@pytest.mark.parametrize("shape", [(120, 200), (200, 120), (101, 64)])
def test_crop_equals_resizing_the_shorter_side_and_cutting_the_centre(shape: tuple[int, int]) -> None:
    image, size = gradient(*shape), 32
    scale = size / min(shape)
    long = Image.fromarray(image).resize((round(shape[1] * scale), round(shape[0] * scale)), Image.Resampling.BICUBIC)
    left, top = (long.width - size) // 2, (long.height - size) // 2
    expected = np.asarray(long.crop((left, top, left + size, top + size))).astype(int)
    assert np.abs(square(image, size, crop=True).astype(int) - expected).max() <= 8  # half a pixel of the gradient


def test_squeeze_keeps_the_borders_that_crop_cuts() -> None:
    image = gradient(40, 120)
    cut, squeezed = (square(image, 20, crop=crop)[..., 0].astype(int) for crop in (True, False))
    assert abs(cut[:, 0].mean() - 85) < 5
    assert abs(cut[:, -1].mean() - 170) < 5
    assert squeezed[:, 0].mean() < 10
    assert squeezed[:, -1].mean() > 245


def test_shrinking_is_antialiased() -> None:
    """A one-pixel checkerboard becomes grey, not another checkerboard."""
    board = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)
    small = square(np.repeat(board[:, :, None], 3, axis=2), 10, crop=True)
    assert np.abs(small.astype(int) - 127).max() < 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
def test_degenerate_shapes(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, dtype=np.uint8)
    for crop in (True, False):
        np.testing.assert_array_equal(square(image, 6, crop=crop), np.full((6, 6, 3), 77))
