"""How far classes spread and how far they stand apart, and how many directions the features use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coretune.tuning.arguments import check_finite, check_tensor
from coretune.tuning.diagnostics.class_means import class_means


@dataclass(frozen=True)
class Scatter:
    """Spread within and between classes; see `scatter`. NaN where a number is not defined."""

    within: float
    between: float
    margin: float

    @property
    def ratio(self) -> float:
        """Scatter within over scatter between the classes, >= 0; NaN if all class means are the same."""
        return self.within / self.between if self.between > 0 else math.nan

    @property
    def margin_ratio(self) -> float:
        """Root of the scatter within (a class's radius) over the margin, >= 0; NaN without a margin or at 0."""
        return math.sqrt(self.within) / self.margin if self.margin > 0 else math.nan


def scatter(features: Tensor, labels: Tensor) -> Scatter:
    """Scatter within and between classes and the margin between their means, each of the K classes counting the same.

        within  = tr Σ_W = 1/K Σ_c 1/n_c Σ_{i∈c} ‖h_i − μ_c‖²
        between = tr Σ_B = 1/K Σ_c ‖μ_c − μ_G‖²
        margin  = 1/K Σ_c min_{c'≠c} ‖μ_c − μ_c'‖

    within + between = tr Σ_T. Divisors are n_c and K (no Bessel correction), so that a class of n_c samples shows
    (n_c − 1)/n_c of its variance: compare pools of one size. Invariant to rotation and shift; under scaling by s the
    scatters grow by s², the margin by s, and the ratios stay. Computed in float64.

    A single sample of a class has no scatter. With one class `between` is 0 and the margin NaN.

    Args:
        features: (n, d).
        labels: (n,) integers.

    Raises:
        ValueError: An argument has a wrong shape, dtype or device, or is not finite.
    """
    found = class_means(features, labels)
    within = found.mean_over_classes(found.deviations(features).square().sum(dim=1))
    between = found.centred.square().sum(dim=1).mean()
    return Scatter(float(within), float(between), _margin(found.centred))


def _margin(means: Tensor) -> float:
    if means.shape[0] == 1:
        return math.nan
    # Not by products, whose cancellation would give equal means a distance.
    distances = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances.fill_diagonal_(torch.inf).amin(dim=1).mean())


def effective_rank(matrix: Tensor, *, centred: bool = True) -> float:
    """Effective rank of Roy and Vetterli (EUSIPCO 2007): exp(−Σ_k p_k log p_k), p_k = σ_k / Σ_j σ_j.

    σ_k are the singular values of the (n, d) matrix less its column means, so that it tells how many directions the
    variation of the features uses; with `centred=False` of the matrix as it is, as in the source and in RankMe
    (arXiv 2210.02885, which adds 1e-7 to p_k), where the common mean of ReLU features weighs most.

    In [1, min(n − 1, d)] (n instead of n − 1 if not centred), invariant to rotation and scaling; 0 for a matrix of
    zeros. It grows with n up to d: compare pools of one size. Computed in float64.

    Args:
        matrix: (n, d).
        centred: Whether to subtract the mean of each column first.

    Raises:
        ValueError: The matrix has a wrong shape or dtype, or is not finite.
    """
    check_tensor("matrix", matrix, "floating", ("n", "d"), matrix)
    check_finite("matrix", matrix)
    exact = matrix.detach().double()
    values = torch.linalg.svdvals(exact - exact.mean(dim=0) if centred else exact)
    # Without this a matrix of equal rows would have the rank of its rounding.
    values = torch.where(values > torch.finfo(values.dtype).eps * max(exact.shape) * exact.abs().amax(), values, 0.0)
    total = values.sum()
    shares = values / torch.where(total > 0, total, 1.0)
    return float(torch.special.entr(shares).sum().exp() * (total > 0))
