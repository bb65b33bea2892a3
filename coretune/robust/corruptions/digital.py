"""Contrast, elastic deformation, pixelation and JPEG compression.

Images are (n, 3, s, s) in [0, 1], multiples of 1/255; draws (n, m) in [0, 1). Results may leave [0, 1].
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from coretune.robust.corruptions.filters import gaussian_matrix, separable

TRUNCATE = 3.0
"""Radius of the Gaussian kernel that smooths displacements, in standard deviations."""

SMALLEST_DETERMINANT = 1e-3
"""Below that the corners of a deformation lie on a line, and there is no way back from them."""


def contrast(images: Tensor, draws: Tensor, factor: float) -> Tensor:
    """Returns images nearer to their mean colour."""
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * factor + mean


def elastic_draws(side: int) -> int:
    """Returns how many numbers `elastic_transform` draws for an image: three corners, and two per pixel."""
    return 6 + 2 * side * side


def elastic_transform(images: Tensor, draws: Tensor, level: tuple[float, float, float]) -> Tensor:
    """Returns images that are stretched as a whole and locally, by bilinear interpolation.

    First the affine map that moves three corners of the inner third by up to `shift`, then a displacement of each
    pixel: uniform noise in [−1, 1), smoothed, times `reach`. What lies outside is reflected.

    Args:
        images: The images.
        draws: (n, elastic_draws(s)).
        level: Reach and sigma of the displacement, and shift, as shares of the side.
    """
    side = images.shape[-1]
    reach, sigma, shift = (share * side for share in level)
    signed = 2 * draws.double() - 1
    grid = torch.stack(
        torch.meshgrid(*2 * [torch.arange(side, device=images.device, dtype=torch.float64)], indexing="xy")
    )
    back = _way_back(signed[:, :6].view(-1, 3, 2) * shift, side)
    ones = torch.ones_like(grid[:1])
    places = torch.einsum("nij,jhw->nihw", back, torch.cat([grid, ones]))
    moved = _sampled(images, places, about_centres=True)
    noise = signed[:, 6:].view(-1, 2, side, side)
    field = separable(noise, gaussian_matrix(side, sigma, "mirror", TRUNCATE)) * reach
    return _sampled(moved, grid[None] + field, about_centres=False)


def _way_back(shifts: Tensor, side: int) -> Tensor:
    """Returns the affine maps (n, 2, 3) from where the corners (x, y) are shifted to back to where they were."""
    middle, third = float(side // 2), float(side // 3)
    corners = torch.tensor(
        [[middle + third, middle + third], [middle + third, middle - third], [middle - third, middle - third]],
        device=shifts.device,
        dtype=shifts.dtype,
    )
    after = torch.cat([corners + shifts, torch.ones_like(shifts[..., :1])], dim=2)
    flat = torch.linalg.det(after).abs() < SMALLEST_DETERMINANT
    after[flat, :, :2] = corners
    found: Tensor = torch.linalg.solve(after, corners.expand(len(shifts), 3, 2))
    return found.transpose(1, 2)


def _sampled(images: Tensor, places: Tensor, *, about_centres: bool) -> Tensor:
    """Returns images at places (n, 2, s, s), x and y in pixels; reflected about the last pixels' centres or edges."""
    side = images.shape[-1]
    scaled = 2 * places / max(side - 1, 1) - 1 if about_centres else (2 * places + 1) / side - 1
    return functional.grid_sample(
        images.double(),
        scaled.movedim(1, 3).expand(len(images), -1, -1, -1),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=about_centres,
    ).to(images.dtype)


def pixelate(images: Tensor, draws: Tensor, factor: float) -> Tensor:
    """Returns images made smaller by a factor and large again, each by Pillow's box filter."""
    side = images.shape[-1]
    small = max(1, int(side * factor))

    def shrunk(image: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return image.resize((small, small), box).resize((side, side), box)

    return _by_pillow(images, shrunk)


def jpeg_compression(images: Tensor, draws: Tensor, quality: int) -> Tensor:
    """Returns images as they come out of a JPEG file of some quality, by Pillow (colours at half the resolution)."""

    def through_file(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(images, through_file)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Changes images one after another, on the CPU."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(one))) for one in pixels])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).to(images.device, images.dtype) / 255
