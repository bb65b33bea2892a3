"""Crops of square images: resized ones, by boxes of real numbers, and whole pixels of a padded image."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coretune.data.augment.columns import AREA, LEFT, RATIO, TOP
from coretune.data.augment.pixels import constant, to_float
from coretune.spec.augment import AugmentSpec

QUANTILES = 4096


def crop_boxes(draws: Tensor, scale: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Draws random resized crops of a square image: area uniform in `scale`, width over height log-uniform in `ratio`.

    The law is that of torchvision's RandomResizedCrop on a square image, which draws again until the crop fits (at
    most ten times, then it cuts the centre). Here the law given that the crop fits is inverted directly, so one draw
    is enough; where no crop can fit, the centre is cut likewise. Sides and corners are real numbers, not whole pixels.

    Args:
        draws: (n, COLUMNS) uniform in [0, 1).
        scale: Range of the area as a fraction of the image.
        ratio: Range of width over height.

    Returns:
        (n, 4): left, top, width, height as fractions of the side.
    """
    areas = _area_quantiles(scale, ratio)
    if areas is None:
        nearest = min(max(1.0, ratio[0]), ratio[1])
        width = torch.full_like(draws[:, 0], min(1.0, nearest))
        height = torch.full_like(draws[:, 0], min(1.0, 1 / nearest))
        return torch.stack(((1 - width) / 2, (1 - height) / 2, width, height), dim=1)
    table = constant(areas, draws.device)
    position = draws[:, AREA] * QUANTILES
    cell = position.long().clamp_(max=QUANTILES - 1)
    area = torch.lerp(table[cell], table[cell + 1], position - cell)
    lowest = area.log().clamp(min=math.log(ratio[0]))
    highest = (-area.log()).clamp(max=math.log(ratio[1]))
    half_ratio = torch.lerp(lowest, highest, draws[:, RATIO]).div(2).exp()
    width = (area.sqrt() * half_ratio).clamp(max=1.0)
    height = (area.sqrt() / half_ratio).clamp(max=1.0)
    return torch.stack((draws[:, LEFT] * (1 - width), draws[:, TOP] * (1 - height), width, height), dim=1)


@lru_cache(maxsize=32)
def _area_quantiles(scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[float, ...] | None:
    """Quantiles of the area of a crop that fits, or None if none does.

    A crop of area a and log ratio r fits a unit square if |r| <= -log a, so the density at a is the length of
    [max(log ratio_0, log a), min(log ratio_1, -log a)].
    """
    area = np.linspace(scale[0], scale[1], 4 * QUANTILES + 1)
    density = np.minimum(math.log(ratio[1]), -np.log(area)) - np.maximum(math.log(ratio[0]), np.log(area))
    if ratio[0] == ratio[1]:
        density = (density >= 0).astype(np.float64)
    density = density.clip(min=0)
    if not density.any():
        return None
    if scale[0] == scale[1]:
        return (scale[0],) * (QUANTILES + 1)
    mass = np.concatenate(([0.0], np.cumsum(density[1:] + density[:-1])))
    inside = np.flatnonzero(np.diff(mass, prepend=-1.0) > 0)
    quantiles = np.interp(np.linspace(0, mass[-1], QUANTILES + 1), mass[inside], area[inside])
    return tuple(quantiles.tolist())


def resized_crop(
    images: Tensor, boxes: Tensor, size: int, mirrored: Tensor | None = None, upside: Tensor | None = None
) -> Tensor:
    """Cuts a box from each image and resizes it to size×size by an antialiased bilinear filter.

    It is torchvision's `resized_crop(antialias=True)` for boxes of real numbers, but for this: beside the box, where
    the image goes on, its pixels are seen by the filter as in PIL's `resize(box=...)`, not cut off before.

    Args:
        images: (n, 3, H, H) float.
        boxes: (n, 4) left, top, width, height as fractions of the side.
        size: Side of the result.
        mirrored: (n,) bool, which results are mirrored left to right; None: none.
        upside: (n,) bool, which are turned upside down; None: none.

    Returns:
        (n, 3, size, size).
    """
    left, top, width, height = boxes.unbind(1)
    rows = _filters(top, height, images.shape[-1], size, upside)
    columns = _filters(left, width, images.shape[-1], size, mirrored)
    return rows[:, None] @ images @ columns.transpose(1, 2)[:, None]


def _filters(start: Tensor, length: Tensor, side: int, size: int, turned: Tensor | None) -> Tensor:
    """Returns (n, size, side): the weights of an image's lines in each line of the result."""
    places = (torch.arange(size, device=start.device, dtype=torch.float32) + 0.5) / size
    shares = places.expand(len(start), size)
    if turned is not None:
        shares = torch.where(turned[:, None], 1 - shares, shares)
    centres = (start[:, None] + shares * length[:, None]) * side
    radius = (length * (side / size)).clamp(min=1.0).view(-1, 1, 1)
    lines = torch.arange(side, device=start.device, dtype=torch.float32) + 0.5
    weights = (1 - (lines - centres[..., None]).abs().div_(radius)).clamp_(min=0)
    return weights.div_(weights.sum(2, keepdim=True))


def padded_crop(
    images: Tensor,
    draws: Tensor,
    spec: AugmentSpec,
    size: int,
    mirrored: Tensor | None = None,
    upside: Tensor | None = None,
) -> Tensor:
    """Pads each image on all sides by `spec.crop_padding` and cuts size×size whole pixels at a place of its own.

    It is torchvision's `RandomCrop(size, padding)`: all places are equally likely.

    Args:
        images: (n, H, H, 3) uint8, or (n, 3, H, H) float in [0, 1]; H + 2 * padding >= size.
        draws: (n, COLUMNS) uniform in [0, 1).
        spec: Padding, and what it is filled with.
        size: Side of the result.
        mirrored: (n,) bool, which results are mirrored left to right; None: none.
        upside: (n,) bool, which are turned upside down; None: none.

    Returns:
        (n, 3, size, size) float32 in [0, 1].

    Raises:
        ValueError: The padded images are too small.
    """
    side, padding = images.shape[2], spec.crop_padding or 0
    if size > side + 2 * padding:
        raise ValueError(f"a crop of {size} pixels needs images of as many, got {side} + 2 · {padding} (crop_padding)")
    padded = images
    if padding and spec.crop_fill == "black":
        sides = (padding,) * 4
        padded = functional.pad(images, sides if images.is_floating_point() else (0, 0, *sides))
    rows = _lines(draws[:, TOP], side + 2 * padding, size, upside)
    columns = _lines(draws[:, LEFT], side + 2 * padding, size, mirrored)
    if padded is images:
        rows, columns = (side - 1 - (side - 1 - (lines - padding).abs()).abs() for lines in (rows, columns))
    across = padded.shape[2]
    pixels = rows[:, :, None] * across + columns[:, None, :]
    if images.is_floating_point():
        flat = pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return padded.flatten(2).gather(2, flat).view(len(images), -1, size, size)
    first = torch.arange(len(images), device=images.device).view(-1, 1, 1) * across**2
    # Rows of three bytes: the quickest gather that torch has for them.
    cut = padded.reshape(-1, 3).index_select(0, (pixels + first).flatten())
    return to_float(cut.view(len(images), size, size, 3))


def _lines(draws: Tensor, length: int, size: int, turned: Tensor | None) -> Tensor:
    """Returns (n, size): which consecutive lines of so many are cut, in order or, where turned, in reverse."""
    places = length - size + 1
    start = (draws * places).long().clamp_(max=places - 1)
    lines = torch.arange(size, device=draws.device).expand(len(draws), size)
    if turned is not None:
        lines = torch.where(turned[:, None], size - 1 - lines, lines)
    return start[:, None] + lines
