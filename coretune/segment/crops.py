"""A random square of an image and of its mask, by the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.masks import VOID, Pair

PURPOSE = "scale and crop"
"""Names the stream of random numbers of `COLUMNS` columns: scale, top, left."""
COLUMNS = 3

Draws = Sequence[float] | NDArray[np.float32]


def random_square(
    pair: Pair,
    draws: Draws,
    side: int,
    scale: tuple[float, float],
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Returns a square of an image that is scaled at random, and the same square of its mask.

    A scale s is uniform in its range; a square of side / s pixels is cut from the image, uniformly among the places
    inside of it, or where the image is smaller among those that hold all of it; it is then resized to `side`. Beyond
    the image there is black, which is void in the mask. Images are resized by a bilinear filter (antialiased where
    they shrink, align_corners False), masks by the nearest pixel. At s = 1 nothing is resized.

    Args:
        pair: (H, W, 3) uint8 and (H, W) uint8.
        draws: Three numbers in [0, 1): scale, top, left.
        side: Side of the square in pixels.
        scale: Range of s.
        device: Where pixels are worked on.

    Returns:
        (3, side, side) float32 in [0, 1], and (side, side) uint8.
    """
    image, mask = pair
    return square_of_image(image, draws, side, scale, device), square_of_mask(mask, draws, side, scale, device)


def square_of_image(
    image: NDArray[np.uint8], draws: Draws, side: int, scale: tuple[float, float], device: torch.device
) -> Tensor:
    """Returns the image's square of `random_square`, (3, side, side) float32 in [0, 1]."""
    top, left, extent = _place(image.shape, draws, side, scale)
    pixels = _window(image, top, left, extent, 0).to(device).permute(2, 0, 1).float().div_(255)
    if extent == side:
        return pixels
    resized = F.interpolate(
        pixels[None], (side, side), mode="bilinear", antialias=extent > side, align_corners=False
    ).clamp_(0, 1)
    return resized[0]


def square_of_mask(
    mask: NDArray[np.uint8], draws: Draws, side: int, scale: tuple[float, float], device: torch.device
) -> Tensor:
    """Returns the mask's square of `random_square`, (side, side) uint8."""
    top, left, extent = _place(mask.shape, draws, side, scale)
    values = _window(mask, top, left, extent, VOID).to(device)
    if extent == side:
        return values
    # The pixel whose centre is nearest: (i + 1/2) · extent / side − 1/2, rounded.
    nearest = (2 * torch.arange(side, device=device) + 1) * extent // (2 * side)
    return values[nearest][:, nearest]


def _place(shape: tuple[int, ...], draws: Draws, side: int, scale: tuple[float, float]) -> tuple[int, int, int]:
    """Returns top, left and side of the square in pixels of the image."""
    extent = max(1, round(side / (scale[0] + float(draws[0]) * (scale[1] - scale[0]))))
    return _start(shape[0], extent, float(draws[1])), _start(shape[1], extent, float(draws[2])), extent


def _start(size: int, extent: int, draw: float) -> int:
    """Returns where a window begins, uniformly: within an image that is larger, around one that is smaller."""
    room = abs(size - extent) + 1
    place = min(int(draw * room), room - 1)
    return place if size >= extent else -place


def _window(array: NDArray[np.uint8], top: int, left: int, extent: int, outside: int) -> Tensor:
    """Returns a square of an array, copied, filled where it lies beyond."""
    found = np.full((extent, extent, *array.shape[2:]), outside, dtype=np.uint8)
    inside = array[max(top, 0) : top + extent, max(left, 0) : left + extent]
    found[max(-top, 0) :, max(-left, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return torch.from_numpy(found)
