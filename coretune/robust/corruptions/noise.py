"""Gaussian, shot and impulse noise, each from one uniform number per value.

Images are (n, 3, s, s) in [0, 1], multiples of 1/255; draws (n, 3 s²) in [0, 1). Results may leave [0, 1].
"""

from __future__ import annotations

import torch
from scipy.stats import poisson
from torch import Tensor

HALF = 2.0**-25
"""Half the resolution of a uniform number, which is a multiple of 2⁻²⁴: with it 0 stands for a number above 0."""


def gaussian_noise(images: Tensor, draws: Tensor, sigma: float) -> Tensor:
    """Returns x + σ z with z standard normal."""
    return images + sigma * normal(draws).view_as(images)


def shot_noise(images: Tensor, draws: Tensor, photons: float) -> Tensor:
    """Returns Poisson(x · photons) / photons: the exact inverse of the distribution function at the drawn numbers.

    An 8-bit value v has its own distribution; those of all values are laid end to end, v + P(X ≤ k), so that one
    search in a sorted list finds every k.
    """
    most = int(poisson.ppf(1 - HALF, photons)) + 1
    values = torch.arange(256, dtype=torch.float64)[:, None]
    counts = torch.arange(most + 1, dtype=torch.float64)[None]
    table = values + torch.from_numpy(poisson.cdf(counts.numpy(), (values / 255 * photons).numpy()))
    table[:, -1] = values[:, 0] + 1  # whatever is drawn, it is found in its own row
    level = (images * 255).round().double().flatten(1)
    wanted = level + draws.double() + HALF
    place = torch.searchsorted(table.flatten().to(images.device), wanted.contiguous())
    found = (place - level.long() * (most + 1)).to(images.dtype)
    return (found / photons).view_as(images)


def impulse_noise(images: Tensor, draws: Tensor, amount: float) -> Tensor:
    """Returns images of whose values a share is replaced, by 0 and 1 in equal parts (salt and pepper)."""
    draws = draws.view_as(images)
    return torch.where(draws < amount / 2, 0.0, torch.where(draws < amount, 1.0, images))


def normal(draws: Tensor) -> Tensor:
    """Returns standard normal numbers of uniform ones in [0, 1), by the inverse of the distribution function."""
    found: Tensor = torch.special.ndtri(draws.double() + HALF)
    return found.to(draws.dtype)
