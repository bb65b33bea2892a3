"""Where an image's pixels go: rotation, crop, flips, in this order."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from coretune.data.augment.columns import ANGLE, FLIP, VERTICAL
from coretune.data.augment.crops import crop_boxes, padded_crop, resized_crop
from coretune.data.augment.pixels import per_sample, to_float
from coretune.data.augment.plain import resize
from coretune.spec.augment import WHOLE, AugmentSpec


def place(images: Tensor, draws: Tensor, spec: AugmentSpec, size: int) -> Tensor:
    """Rotates, crops and flips each image by its own draws.

    Args:
        images: (n, H, H, 3) uint8, or (n, 3, H, H) float in [0, 1]; n > 0.
        draws: (n, columns) float32, on the images' device.
        spec: What to do.
        size: Side of the result.

    Returns:
        (n, 3, size, size) float32.
    """
    side = images.shape[2]
    mirrored = draws[:, FLIP] < 0.5 if spec.flip else None
    upside = draws[:, VERTICAL] < 0.5 if spec.vertical_flip else None
    cropped = spec.crop_scale != WHOLE
    if not cropped and spec.crop_padding is None:
        rotates = spec.rotation > 0
        placed = _warp(to_float(images), draws, spec, side, mirrored, upside) if rotates else None
        return resize(to_float(_flip(images, mirrored, upside)) if placed is None else placed, size)
    if cropped and size >= side and (spec.rotation == 0 or spec.rotation_fill == "reflection"):
        # Nothing is shrunk, so one interpolation does for all.
        boxes = crop_boxes(draws, spec.crop_scale, spec.crop_ratio)
        return _warp(to_float(images), draws, spec, size, mirrored, upside, boxes)
    if spec.rotation > 0:
        images = _warp(to_float(images), draws, spec, side)
    if spec.crop_padding is not None:
        return padded_crop(images, draws, spec, size, mirrored, upside)
    boxes = crop_boxes(draws, spec.crop_scale, spec.crop_ratio)
    return resized_crop(to_float(images), boxes, size, mirrored, upside)


def _flip(images: Tensor, mirrored: Tensor | None, upside: Tensor | None) -> Tensor:
    """Flips images of either layout."""
    down, across = (2, 3) if images.is_floating_point() else (1, 2)
    for turned, dimension in ((mirrored, across), (upside, down)):
        if turned is not None:
            images = torch.where(per_sample(turned), images.flip(dimension), images)
    return images


def _warp(
    images: Tensor,
    draws: Tensor,
    spec: AugmentSpec,
    size: int,
    mirrored: Tensor | None = None,
    upside: Tensor | None = None,
    boxes: Tensor | None = None,
) -> Tensor:
    """Samples (n, 3, size, size) from (n, 3, H, H) by one affine map per image: rotation ∘ crop ∘ flips."""
    if boxes is not None:
        left, top, width, height = boxes.unbind(1)
    else:
        left = top = torch.zeros_like(draws[:, 0])
        width = height = torch.ones_like(left)
    across = width if mirrored is None else torch.where(mirrored, -width, width)
    down = height if upside is None else torch.where(upside, -height, height)
    x, y = 2 * left + width - 1, 2 * top + height - 1
    if spec.rotation == 0:
        # Nothing further than half a pixel outside is asked for, where both fillings agree.
        grid, padding = _upright_grid(across, down, x, y, size), "border"
    else:
        angle = (2 * draws[:, ANGLE] - 1) * math.radians(spec.rotation)
        cos, sin = angle.cos(), angle.sin()
        matrix = torch.stack(
            (cos * across, -sin * down, cos * x - sin * y, sin * across, cos * down, sin * x + cos * y), dim=1
        ).view(-1, 2, 3)
        grid = functional.affine_grid(matrix, [len(images), 3, size, size], align_corners=False)
        padding = {"reflection": "reflection", "black": "zeros"}[spec.rotation_fill]
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _upright_grid(across: Tensor, down: Tensor, x: Tensor, y: Tensor, size: int) -> Tensor:
    """Returns what `affine_grid` returns for maps without rotation, to the bit, in a fraction of its time.

    Args:
        across: (n,) half-widths of the boxes, negative where mirrored; the image has [-1, 1].
        down: (n,) half-heights, negative where upside down.
        x: (n,) centres of the boxes, from left to right.
        y: (n,) centres, from top to bottom.
        size: Side of the result.

    Returns:
        (n, size, size, 2).
    """
    base = torch.linspace(-1, 1, size, device=across.device) * (size - 1) / size
    columns, rows = (base * scale[:, None] + centre[:, None] for scale, centre in ((across, x), (down, y)))
    shape = (len(across), size, size)
    grid = torch.stack((columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)), dim=1)
    return grid.permute(0, 2, 3, 1)  # read sooner than numbers in pairs
