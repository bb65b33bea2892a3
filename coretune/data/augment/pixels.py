"""What the operations share: float images, constants, and changes of some samples only."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Returns (n, 3, H, W) float32 in [0, 1] of (n, H, W, 3) uint8; float images are returned as they are."""
    if images.is_floating_point():
        return images
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Returns numbers as a tensor: copied once, since a copy in every batch would wait for the device."""
    return torch.tensor(values, device=device, dtype=torch.float32)


def per_sample(values: Tensor) -> Tensor:
    """Returns (n,) values as (n, 1, 1, 1), to stand beside images."""
    return values.view(-1, 1, 1, 1)


def change_where(happens: Tensor, images: Tensor, draws: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Returns the images, those changed for which something happens.

    Args:
        happens: (n,) bool.
        images: (n, 3, H, W).
        draws: (n, columns).
        change: Given some images and their draws, returns what they become.
    """
    if images.device.type != "cpu":  # to count them would wait for the device
        return torch.where(per_sample(happens), change(images, draws), images)
    chosen = happens.nonzero().flatten()
    return images.index_copy(0, chosen, change(images[chosen], draws[chosen])) if len(chosen) else images
