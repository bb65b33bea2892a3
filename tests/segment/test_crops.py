from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from support.scenes import scene

from coretune.segment.crops import random_square

CPU = torch.device("cpu")


@given(st.tuples(*[st.floats(0, 1, exclude_max=True, width=32)] * 3))
def test_at_scale_one_pixels_and_masks_are_those_of_the_image(draws: tuple[float, float, float]) -> None:
    image, mask = scene(0)
    pixels, values = random_square((image, mask), draws, 24, (1.0, 1.0), CPU)
    places = [
        (top, left)
        for top in range(40 - 24 + 1)
        for left in range(48 - 24 + 1)
        if np.array_equal(image[top : top + 24, left : left + 24], (pixels * 255).round().permute(1, 2, 0).numpy())
    ]
    assert len(places) == 1
    top, left = places[0]
    assert np.array_equal(values.numpy(), mask[top : top + 24, left : left + 24])
    assert (top, left) == (min(int(draws[1] * 17), 16), min(int(draws[2] * 25), 24))


@given(st.tuples(*[st.floats(0, 1, exclude_max=True, width=32)] * 3), st.sampled_from([8, 15, 20]))
@example((0.0, 0.0, 0.28125), 8)
def test_masks_follow_their_images(draws: tuple[float, float, float], side: int) -> None:
    """An image whose colours say its mask: where a pixel's neighbours are of its class, so is what is resized."""
    mask = np.zeros((40, 48), dtype=np.uint8)
    mask[:, 24:] = 1
    image = np.where(mask[..., None] == 1, 200, 100).astype(np.uint8).repeat(3, axis=2)
    pixels, values = random_square((image, mask), draws, side, (0.5, 2.0), CPU)
    assert pixels.shape == (3, side, side) and values.shape == (side, side)
    grey, inside = pixels[0] * 255, values != 255
    for c, other in ((0, 1), (1, 0)):
        # At the edge of the square a pixel's own class may have as little as 3/8 of its grey.
        sure = inside & (grey > (165 if c == 1 else 60)) & (grey < (300 if c == 1 else 135))
        wrong = sure & (values == other)
        assert not wrong.any()


def test_beyond_an_image_there_is_black_and_void() -> None:
    image, mask = np.full((6, 9, 3), 255, dtype=np.uint8), np.ones((6, 9), dtype=np.uint8)
    pixels, values = random_square((image, mask), (0.0, 0.5, 0.999), 12, (1.0, 1.0), CPU)
    assert int((values == 1).sum()) == 6 * 9 and int((values == 255).sum()) == 12 * 12 - 6 * 9
    assert torch.equal(pixels[0] == 1, values == 1) and torch.equal(pixels[0] == 0, values == 255)
    assert values[3, 3] == 1 and values[2, 3] == 255 and values[3, 2] == 255  # 3 rows above, 3 columns to the left


@pytest.mark.parametrize(("draw", "extent"), [(0.0, 48), (0.5, 19), (0.999999, 12)])
def test_the_scale_is_that_of_the_image(draw: float, extent: int) -> None:
    """Stripes of two pixels: as many are seen as the square is wide in pixels of the image."""
    mask = np.tile(np.arange(96, dtype=np.uint8) % 200, (96, 1))
    image = np.zeros((96, 96, 3), dtype=np.uint8)
    _, values = random_square((image, mask), (draw, 0.0, 0.0), 24, (0.5, 2.0), CPU)
    assert values[0, -1] == pytest.approx(extent - 1, abs=max(1, extent / 24))


def test_squares_depend_on_nothing_but_their_draws() -> None:
    pair = scene(3)
    first = random_square(pair, (0.3, 0.6, 0.9), 20, (0.5, 2.0), CPU)
    again = random_square(pair, (0.3, 0.6, 0.9), 20, (0.5, 2.0), CPU)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
