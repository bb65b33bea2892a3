"""Clouds: height maps by the diamond-square algorithm, on a torus."""

from __future__ import annotations

import torch
from torch import Tensor

ROUGHNESS = 100.0
"""Roughness of the first step; its square is the reach of the random part."""


def plasma_side(side: int) -> int:
    """Returns the side of the map that images of a side are cut from: the next power of two."""
    return max(2, 1 << (side - 1).bit_length())


def plasma_draws(side: int) -> int:
    """Returns how many numbers a map for images of a side takes: one for each point but the first."""
    return plasma_side(side) ** 2 - 1


def plasma(draws: Tensor, side: int, decay: float) -> Tensor:
    """Returns height maps (n, side, side) in [0, 1], rough at large scales and smoother at small ones.

    From a single corner at height 0, each step halves the grid: the middle of a square is the mean of its four
    corners, then the middle of an edge the mean of its four neighbours, each plus r · u with u uniform in [−r, r);
    r begins at 100 and is divided by `decay` after each step. The map goes on at its borders. It is stretched to
    [0, 1], and its first corner is cut out.

    Args:
        draws: (n, plasma_draws(side)) in [0, 1).
        side: Pixels.
        decay: Above 1; the larger, the smoother.
    """
    whole = plasma_side(side)
    heights = torch.zeros(len(draws), whole, whole, device=draws.device, dtype=draws.dtype)
    step, roughness, used = whole, ROUGHNESS, 0

    def middle(four: Tensor) -> Tensor:
        nonlocal used
        count = four.shape[1] * four.shape[2]
        noise = draws[:, used : used + count].view_as(four)
        used += count
        return four / 4 + roughness * roughness * (2 * noise - 1)

    while step >= 2:
        half = step // 2
        corner = heights[:, ::step, ::step]
        pairs = corner + corner.roll(-1, 1)
        heights[:, half::step, half::step] = middle(pairs + pairs.roll(-1, 2))
        centre, corner = heights[:, half::step, half::step], heights[:, ::step, ::step]
        heights[:, ::step, half::step] = middle(centre + centre.roll(1, 1) + corner + corner.roll(-1, 2))
        heights[:, half::step, ::step] = middle(centre + centre.roll(1, 2) + corner + corner.roll(-1, 1))
        step, roughness = half, roughness / decay
    low, high = heights.amin((1, 2), keepdim=True), heights.amax((1, 2), keepdim=True)
    return ((heights - low) / (high - low))[:, :side, :side]
