"""Means within the domains of a batch, on the device and without waiting for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DomainMeans:
    """Means of the samples of each domain.

    Attributes:
        values: (D, ...) means; 0 of a domain without a sample.
        present: (D,) bool, which domains have a sample.
    """

    values: Tensor
    present: Tensor

    def over_domains(self) -> Tensor:
        """Returns the mean over the domains that are there, (...); 0 without any."""
        return self.values.sum(dim=0) / self.present.sum().clamp_min(1)


def memberships(domain: Tensor, number: int) -> Tensor:
    """Returns (D, n) bool, which samples (n,) are of which of D domains."""
    return domain == torch.arange(number, device=domain.device)[:, None]


def domain_means(values: Tensor, members: Tensor) -> DomainMeans:
    """Returns the mean of each domain.

    Args:
        values: (n,) or (n, d), of a floating dtype.
        members: (D, n) bool, of whom a domain's mean is; a sample may be of no domain.
    """
    counts = members.sum(dim=1)
    weights = members.to(values.dtype) / counts.clamp_min(1)[:, None]
    return DomainMeans(weights @ values, counts > 0)
