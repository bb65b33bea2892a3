"""Batched augmentation: parameters from a table of uniform numbers, pixels in one `grid_sample`.

A sample's result depends on its pixels, its row of draws and the spec, never on the batch around it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coretune.spec.run import AugmentSpec

AREA, RATIO, LEFT, TOP, FLIP, ANGLE, BRIGHTNESS, CONTRAST = range(8)
COLUMNS = 8
"""Uniform numbers per sample and view; what each is for never changes."""
SATURATION, HUE, JITTER, GREY = range(COLUMNS, COLUMNS + 4)
COLOUR_COLUMNS = 4
"""Further numbers that follow them where a spec needs them (`streams`)."""

QUANTILES = 4096
LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601 luma, as torchvision has it."""
PHASES = (3 / 6, 1 / 6, -1 / 6)
"""Turns from the hue at which red, green, blue is least to the origin of hue; least at cyan, magenta, yellow."""


def streams(spec: AugmentSpec) -> dict[str, int]:
    """Returns the purposes and columns of the tables of uniform numbers that, side by side, are a spec's draws.

    The second table has a purpose of its own, so that the numbers of the first do not depend on it.
    """
    further = spec.saturation > 0 or spec.hue > 0 or spec.grey > 0 or spec.jitter_probability < 1
    return {"augment": COLUMNS, "colour": COLOUR_COLUMNS} if further else {"augment": COLUMNS}


def to_float(images: Tensor) -> Tensor:
    """Returns (n, 3, H, W) float32 in [0, 1] of (n, H, W, 3) uint8."""
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def augment(images: Tensor, draws: Tensor, spec: AugmentSpec, size: int | None = None) -> Tensor:
    """Rotates, crops, flips and recolours each image by its own draws.

    The order is torchvision's usual one: rotation about the centre (outside is filled by reflection, not by black),
    random resized crop of the rotated image, flip, jitter of brightness, contrast, saturation, hue (in this order;
    torchvision's ColorJitter shuffles them), grey. The spec that changes nothing gives exactly `to_float`; flips alone
    are exact mirrors; a sample whose colours are left alone keeps its exact pixels.

    Args:
        images: (n, H, H, 3) uint8.
        draws: (n, columns) uniform in [0, 1), on any device; the columns are those of `streams(spec)`, or more.
        spec: What to do.
        size: Side of the result; None keeps H.

    Returns:
        (n, 3, size, size) float32 in [0, 1], on the images' device.
    """
    side = images.shape[1]
    size = side if size is None else size
    if not len(images):  # torch refuses to make a grid for none
        return to_float(images).new_zeros(0, 3, size, size)
    draws = draws.to(device=images.device, dtype=torch.float32)
    mirrored = draws[:, FLIP] < 0.5 if spec.flip else None
    if spec.crop_scale != (1.0, 1.0) or spec.rotation > 0:
        result = _warp(to_float(images), draws, mirrored, spec, max(side, size))
    else:
        if mirrored is not None:
            images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
        result = to_float(images)
    if result.shape[-1] != size:
        result = functional.interpolate(result, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return _recolour(result, draws, spec)


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
    table = _constant(areas, draws.device)
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


def _warp(images: Tensor, draws: Tensor, mirrored: Tensor | None, spec: AugmentSpec, size: int) -> Tensor:
    """Samples (n, 3, size, size) from (n, 3, H, H) by one affine map per image: rotation ∘ crop ∘ flip."""
    if spec.crop_scale != (1.0, 1.0):
        left, top, width, height = crop_boxes(draws, spec.crop_scale, spec.crop_ratio).unbind(1)
    else:
        left = top = torch.zeros_like(draws[:, 0])
        width = height = torch.ones_like(left)
    across = width if mirrored is None else torch.where(mirrored, -width, width)
    x, y = 2 * left + width - 1, 2 * top + height - 1
    angle = (2 * draws[:, ANGLE] - 1) * math.radians(spec.rotation)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack(
        (cos * across, -sin * height, cos * x - sin * y, sin * across, cos * height, sin * x + cos * y), dim=1
    ).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, [len(images), 3, size, size], align_corners=False)
    # Without rotation nothing further than half a pixel outside is asked for, where both fillings agree.
    padding = "reflection" if spec.rotation > 0 else "border"
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _recolour(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    """Jitters the colours of a share of the images, then makes a share grey, as RandomApply and RandomGrayscale do."""
    jittered = _jitter(images, draws, spec)
    if spec.jitter_probability < 1:
        jittered = torch.where(_happens(draws[:, JITTER], spec.jitter_probability), jittered, images)
    if spec.grey > 0:
        jittered = torch.where(_happens(draws[:, GREY], spec.grey), _luma(jittered), jittered)
    return jittered


def _jitter(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    """Blends with black (brightness), the mean grey (contrast), each pixel's grey (saturation), then turns the hue.

    The four are torchvision's `adjust_*`, with factors uniform in 1 ± strength, the hue's turn uniform in ± `spec.hue`.
    """
    if spec.brightness > 0:
        images = (images * _factor(draws[:, BRIGHTNESS], spec.brightness)).clamp_(0, 1)
    if spec.contrast > 0:
        mean = _luma(images).mean((2, 3), keepdim=True)
        images = torch.lerp(mean, images, _factor(draws[:, CONTRAST], spec.contrast)).clamp_(0, 1)
    if spec.saturation > 0:
        images = torch.lerp(_luma(images), images, _factor(draws[:, SATURATION], spec.saturation)).clamp_(0, 1)
    if spec.hue > 0:
        images = turn_hue(images, (2 * draws[:, HUE] - 1) * spec.hue)
    return images


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Adds to the hue of each image, by RGB → HSV → RGB without the branches of its six sectors.

    With M and m a pixel's greatest and least channel, hue h in turns, and d(x) = |x - round x| the distance to the
    nearest whole turn, the channel of phase φ is M - (M - m) · clip(2 - 6 d(h + φ), 0, 1), φ = 1/2, 1/6, -1/6 for red,
    green, blue (the closed form of HSV → RGB, k = 6 (h + φ) + 2). Grey pixels, black among them, have hue 0 and stay
    what they are; results lie in [m, M].

    Args:
        images: (n, 3, H, W) in [0, 1].
        turns: (n,) added to the hue, in turns; torchvision's `hue_factor`, but of any size.

    Returns:
        (n, 3, H, W).
    """
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    most = torch.maximum(torch.maximum(red, green), blue)
    chroma = most - torch.minimum(torch.minimum(red, green), blue)
    # Sector by sector 6h = (g - b)/(M - m), 2 + (b - r)/(M - m), 4 + (r - g)/(M - m); where two channels are greatest
    # their sectors agree, up to a whole turn.
    is_red, is_green = most == red, most == green
    ahead = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    sector = torch.where(is_red, 0.0, torch.where(is_green, 1 / 3, 2 / 3))
    hue = (ahead / chroma.clamp(min=torch.finfo(chroma.dtype).tiny)).div_(6).add_(sector)
    angle = hue + (turns.view(-1, 1, 1, 1) + _constant(PHASES, images.device).view(1, 3, 1, 1))
    share = angle.sub_(angle.round()).abs_().mul_(-6).add_(2).clamp_(0, 1)
    return torch.addcmul(most, chroma, share, value=-1)


def _luma(images: Tensor) -> Tensor:
    """Returns the grey of each pixel, (n, 1, H, W)."""
    return (images * _constant(LUMA, images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Returns numbers as a tensor: copied once, since a copy in every batch would wait for the device."""
    return torch.tensor(values, device=device, dtype=torch.float32)


def _factor(draws: Tensor, strength: float) -> Tensor:
    return (1 + (2 * draws - 1) * strength).view(-1, 1, 1, 1)


def _happens(draws: Tensor, probability: float) -> Tensor:
    return (draws < probability).view(-1, 1, 1, 1)
