"""Gaussian blur, each sample by a width of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from coretune.data.augment.columns import BLUR, SIGMA
from coretune.data.augment.pixels import change_where, per_sample
from coretune.spec.augment import AugmentSpec


def blurred(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    """Blurs a share of the images, as torchvision's RandomApply([GaussianBlur(kernel, sigma)], p) does.

    Args:
        images: (n, 3, H, H) float.
        draws: (n, columns) uniform in [0, 1).
        spec: Share, range of σ (uniform), kernel.

    Returns:
        (n, 3, H, H).
    """
    if spec.blur == 0:
        return images
    low, high = spec.blur_sigma
    radius = min(spec.kernel // 2, images.shape[-1] - 1)

    def change(chosen: Tensor, rows: Tensor) -> Tensor:
        return gaussian_blur(chosen, low + rows[:, SIGMA] * (high - low), radius)

    return change_where(draws[:, BLUR] < spec.blur, images, draws, change)


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Convolves each image with a Gaussian of its own width, which is cut off and scaled to sum 1.

        k_j = exp(−j² / 2σ²) / Σ_i exp(−i² / 2σ²)        −r <= i, j <= r

    Along rows, then along columns; beyond the border the image is mirrored at its outermost pixels. Products are summed
    one by one, without a convolution, so that a GPU does not round them to TF32.

    Args:
        images: (n, 3, H, W) float.
        sigma: (n,) σ > 0 in pixels.
        radius: r in pixels, less than H and W.

    Returns:
        (n, 3, H, W).
    """
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = (offsets / sigma[:, None]).square().mul(-0.5).exp()
    weights = weights / weights.sum(1, keepdim=True)
    padded = functional.pad(images, (radius,) * 4, mode="reflect")
    for dimension in (2, 3):
        padded = _summed(padded, weights, dimension, images.shape[dimension])
    return padded


def _summed(images: Tensor, weights: Tensor, dimension: int, length: int) -> Tensor:
    total = images.narrow(dimension, 0, length) * per_sample(weights[:, 0])
    for shift in range(1, weights.shape[1]):
        total.addcmul_(images.narrow(dimension, shift, length), per_sample(weights[:, shift]))
    return total
