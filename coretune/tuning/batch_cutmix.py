"""CutMix of a batch of images with a random permutation of itself, and their labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coretune.tuning.arguments import bad_argument, check_number, computing_dtype
from coretune.tuning.batch_mixup import Mixtures, check_mixing, mixed_targets
from coretune.tuning.beta import draw_beta


def batch_cutmix(
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    alpha: float,
    probability: float = 1.0,
    generator: torch.Generator | None = None,
) -> Mixtures:
    """Pastes into each image the same rectangle of another of the batch (arXiv 1905.04899, section 3.1, algorithm A1).

        λ ~ Beta(α, α)        r_w = W √(1 − λ), r_h = H √(1 − λ), centred at r_x ~ U{0, …, W − 1}, r_y ~ U{0, …, H − 1}
        x̃_i = x_π(i) inside, x_i outside        ỹ_i = λ y_i + (1 − λ) y_π(i)

    One λ, one rectangle and one random permutation π for the whole batch. Half a side is rounded down to whole pixels;
    what lies outside of the image is cut off, and λ in the labels is the share of the image that is left, as in the
    paper's listing, the released code and torchvision's CutMix. All is drawn on the CPU, and also where nothing is
    cut; on a GPU nothing waits for the device.

    Args:
        images: (n, channels, H, W) floating.
        labels: (n,) integers in [0, C).
        num_classes: C.
        alpha: α > 0.
        probability: Of cutting at all, in [0, 1]; the released code has 1 for ImageNet and 0.5 for CIFAR.
        generator: On the CPU; None for torch's global one.

    Returns:
        The mixtures; `mix` is the λ of the labels.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_mixing(images, labels, num_classes, alpha, generator)
    if images.ndim != 4:
        raise bad_argument("images", f"a tensor of {images.ndim} dimensions", "images, (n, channels, H, W)")
    check_number("probability", probability, 0.0, 1.0)
    device, (height, width) = images.device, images.shape[2:]
    cuts = float(torch.rand((), dtype=torch.float64, generator=generator)) < probability
    rest = math.sqrt(1 - float(draw_beta(alpha, (), generator)))
    partner = torch.randperm(len(images), generator=generator).to(device, non_blocking=True)
    top, bottom = _range(height, rest, generator)
    left, right = _range(width, rest, generator)
    mix = 1 - (bottom - top) * (right - left) / (height * width) if cuts else 1.0
    mixed = images
    if mix < 1:
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images[..., top:bottom, left:right].index_select(0, partner)
    share = torch.tensor(mix, dtype=torch.float64)
    weight = share.to(computing_dtype(images)).to(device, non_blocking=True)
    return Mixtures(mixed, mixed_targets(labels, partner, weight, num_classes), partner, share)


def _range(side: int, rest: float, generator: torch.Generator | None) -> tuple[int, int]:
    """Draws where a rectangle begins and ends along a side."""
    centre, half = int(torch.randint(side, (), generator=generator)), int(side * rest / 2)
    return max(centre - half, 0), min(centre + half, side)
