"""Defocus, glass, motion and zoom blur.

Images are (n, 3, s, s) in [0, 1]; draws, where there are any, (n, m) in [0, 1).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from coretune.robust.corruptions.filters import (
    bordered,
    gaussian_matrix,
    quantised,
    separable,
    zoom_matrix,
)

SKIMAGE_TRUNCATE = 4.0
"""Radius of scikit-image's Gaussian kernel, in standard deviations."""


def defocus_blur(images: Tensor, draws: Tensor, level: tuple[float, float]) -> Tensor:
    """Returns images through an out-of-focus lens: filtered by a disk of some radius with a soft edge."""
    kernel = torch.from_numpy(disk(*level)).to(images.device)  # float64: see `separable`
    radius = kernel.shape[0] // 2
    weight = kernel.expand(images.shape[1], 1, *kernel.shape)
    found = functional.conv2d(bordered(images.double(), radius, "reflect"), weight, groups=images.shape[1])
    return found.to(images.dtype)


def disk(radius: float, alias_blur: float) -> NDArray[np.float64]:
    """Returns a disk that sums to 1, blurred by 3×3 (5×5 where the radius is above 8), without its empty margin."""
    reach, size = (8, 3) if radius <= 8 else (int(radius), 5)
    line = np.arange(-reach, reach + 1)
    sharp = (line[:, None] ** 2 + line[None] ** 2 <= radius**2).astype(np.float64)
    offsets = np.arange(size) - size // 2
    weights = np.exp(-(offsets**2) / (2 * alias_blur**2))
    weights /= weights.sum()
    side = len(line)
    smooth = np.zeros((side, side))
    for offset, weight in zip(offsets, weights, strict=True):
        index = np.abs(np.arange(side) + offset)
        smooth[np.arange(side), np.where(index < side, index, 2 * side - 2 - index)] += weight
    found = smooth @ (sharp / sharp.sum()) @ smooth.T
    used = int(np.abs(line[np.flatnonzero(found.any(axis=0))]).max())
    inside = slice(reach - used, reach + used + 1)
    return np.ascontiguousarray(found[inside, inside])


def glass_draws(side: int, level: tuple[float, int, int]) -> int:
    """Returns how many numbers `glass_blur` draws for an image."""
    _, shift, rounds = level
    return 2 * rounds * max(side - 2 * shift, 0) ** 2


def glass_blur(images: Tensor, draws: Tensor, level: tuple[float, int, int]) -> Tensor:
    """Returns images through frosted glass: blurred, pixels replaced by near ones, blurred again.

    In each round the pixels are visited row by row from below, from right to left, and each takes the value that the
    pixel (dy, dx) away has at that moment, dy and dx in [−shift, shift). The authors' code means to exchange the two;
    its assignment of numpy views copies one onto the other, and so the published images were made.
    """
    sigma, shift, rounds = level
    side = images.shape[-1]
    matrix = gaussian_matrix(side, sigma, "edge", SKIMAGE_TRUNCATE)
    found = quantised(separable(images, matrix))
    inner = side - 2 * shift
    if inner > 0:
        for moves in draws.view(len(images), rounds, inner * inner, 2).unbind(1):
            found = _moved(found, (moves * (2 * shift)).long() - shift, shift)
    return separable(found, matrix)


def _moved(images: Tensor, moves: Tensor, shift: int) -> Tensor:
    """Makes one round: moves (n, m, 2) of dx and dy, in the order in which the m pixels are visited.

    A pixel whose source was visited before takes what that one took, and so on: chains of sources, which are followed
    for all pixels at once by doubling.
    """
    n, side = images.shape[0], images.shape[-1]
    rows = torch.arange(side - shift, shift, -1, device=images.device)
    places = (rows[:, None] * side + rows[None]).flatten()
    source = torch.arange(side * side, device=images.device).repeat(n, 1)
    taken = places[None] + moves[..., 1] * side + moves[..., 0]
    source[:, places] = taken
    visited = torch.full((side * side,), side * side, device=images.device)
    visited[places] = torch.arange(len(places), device=images.device)
    chained = torch.zeros_like(source, dtype=torch.bool)
    chained[:, places] = visited[taken] < visited[places][None]
    while bool(chained.any()):
        onward, further = source.gather(1, source), chained.gather(1, source)
        source, chained = torch.where(chained, onward, source), chained & further
    return images.flatten(2).gather(2, source[:, None].expand(-1, images.shape[1], -1)).view_as(images)


def motion_blur(images: Tensor, draws: Tensor, level: tuple[int, float]) -> Tensor:
    """Returns images blurred along a line of an angle between −45° and 45°, to 8 bits."""
    return along(images, 90 * draws[:, 0] - 45, *level)


def along(images: Tensor, degrees: Tensor, radius: int, sigma: float) -> Tensor:
    """Returns images (n, c, s, s) blurred from each pixel onward in a direction, to 8 bits: ImageMagick's motion blur.

    2 radius + 1 pixels, one step apart and rounded to whole ones, have weights exp(−i² / 2σ²); the border is repeated.

    Args:
        images: The images.
        degrees: (n,) their directions.
        radius: In pixels.
        sigma: In pixels.
    """
    side = images.shape[-1]
    steps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    angles = degrees.double().cpu() * (math.pi / 180)
    down = torch.ceil(angles.sin()[:, None] * steps - 0.5).long().to(images.device)
    right = torch.ceil(angles.cos()[:, None] * steps - 0.5).long().to(images.device)
    line = torch.arange(side, device=images.device)
    flat, found = images.flatten(2), torch.zeros_like(images).flatten(2)
    for i, weight in enumerate(weights.tolist()):
        y = (line[None] + down[:, i, None]).clamp(0, side - 1)
        x = (line[None] + right[:, i, None]).clamp(0, side - 1)
        index = (y[:, :, None] * side + x[:, None]).flatten(1)
        found += weight * flat.gather(2, index[:, None].expand(-1, images.shape[1], -1))
    return ((found.view_as(images) * 255).round() / 255).clamp(0, 1)


def zoom_blur(images: Tensor, draws: Tensor, factors: tuple[float, ...]) -> Tensor:
    """Returns the mean of images and of zooms into their centres."""
    side = images.shape[-1]
    found = images.clone()
    for factor in factors:
        found += separable(images, zoom_matrix(side, factor))
    return found / (len(factors) + 1)
