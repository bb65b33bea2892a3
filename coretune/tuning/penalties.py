"""Quadratic penalties on parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from coretune.tuning.arguments import computing_dtype, full_precision


def half_squared_norm(parameters: Iterable[Tensor], start: Tensor | None = None) -> Tensor:
    """Returns ½ ‖w − w⁰‖² as a scalar attached to w, in float32 (float64 for float64), also under autocast.

    Args:
        parameters: w, of any shapes; at least one.
        start: (P,) w⁰, what `as_vector` gave of the same parameters; None for 0.
    """
    vector = as_vector(parameters)
    with full_precision(vector.device):
        return 0.5 * (vector if start is None else vector - start).square().sum()


def as_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Returns the values of parameters (at least one) as one vector (P,), in float32 (float64 for float64)."""
    return torch.cat([parameter.flatten().to(computing_dtype(parameter)) for parameter in parameters])
