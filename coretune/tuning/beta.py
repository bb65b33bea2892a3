"""Mixing weights: draws from the Beta distribution, on the CPU and exact for any α."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_beta(alpha: float, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Draws from Beta(α, α) on the CPU, in float64.

    X / (X + Y) of two Gamma(α) variables, with log X = log G + log(U) / α, G ~ Gamma(α + 1), U uniform: exact, and in
    the logarithm, so that a tiny α gives zeros and ones and no 0/0.

    Args:
        alpha: α > 0.
        shape: Of the result.
        generator: On the CPU; None for torch's global one.
    """
    gammas = torch._standard_gamma(torch.full((2, *shape), alpha + 1, dtype=torch.float64), generator=generator).log()
    uniforms = (1 - torch.rand((2, *shape), dtype=torch.float64, generator=generator)).log()
    return torch.sigmoid(gammas[0] - gammas[1] + (uniforms[0] - uniforms[1]) / alpha)
