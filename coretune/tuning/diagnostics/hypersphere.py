"""Alignment and uniformity on the unit sphere, of pairs and by class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coretune.tuning.arguments import check_finite, check_number, check_tensor
from coretune.tuning.diagnostics.blocks import row_blocks
from coretune.tuning.diagnostics.class_means import class_means


def alignment(x: Tensor, y: Tensor, *, alpha: float = 2.0) -> float:
    """Alignment of positive pairs, mean_i ‖x_i − y_i‖^α (Wang and Isola, ICML 2020, arXiv 2005.10242, section 4.1).

    In [0, 2^α] for unit vectors, 0 if each pair is one point. Computed in float64.

    Args:
        x: (n, d) unit vectors.
        y: (n, d) unit vectors, the positives of x, e.g. other views of the same images.
        alpha: α > 0; the source has 2.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_tensor("x", x, "floating", ("n", "d"), x)
    check_tensor("y", y, "floating", tuple(x.shape), x)
    check_finite("x", x)
    check_finite("y", y)
    check_number("alpha", alpha, 0.0, open_low=True)
    return float((x.detach().double() - y.detach().double()).norm(dim=1).pow(alpha).mean())


def class_alignment(z: Tensor, labels: Tensor) -> float:
    """Alignment with α = 2 whose positives are all pairs of a class, each class counting the same.

        mean_c 1/(n_c (n_c − 1)) Σ_{i≠j∈c} ‖z_i − z_j‖² = mean_c 2/(n_c − 1) Σ_{i∈c} ‖z_i − μ_c‖²

    over the classes of two samples or more. The supervised variant of Wang and Isola's measure (arXiv 2005.10242 has
    views of one image as positives). In [0, 4] for unit vectors; unbiased in n_c, unlike `scatter`. NaN if no class has
    two samples. Memory is linear. Computed in float64.

    Args:
        z: (n, d) unit vectors.
        labels: (n,) integers.

    Raises:
        ValueError: An argument has a wrong shape, dtype or device, or is not finite.
    """
    found = class_means(z, labels)
    squares = found.deviations(z).square().sum(dim=1)
    sums = torch.zeros_like(found.counts).index_add_(0, found.member, squares)
    paired = found.counts > 1
    means = torch.where(paired, 2 * sums / (found.counts - 1).clamp_min(1), 0.0)
    count = int(paired.sum())
    return float(means.sum()) / count if count else math.nan


def uniformity(z: Tensor, labels: Tensor | None = None, *, t: float = 2.0) -> float:
    """Uniformity, log mean_{i≠j} exp(−t ‖z_i − z_j‖²) (Wang and Isola, ICML 2020, arXiv 2005.10242, section 4.2).

    With labels only pairs of different classes count: how evenly classes are spread, whatever they are like inside.

    In [−4t, 0] for unit vectors: 0 if all are one point. The minimum is not −4t but that of a uniform distribution,
    which depends on d and n. NaN if there is no pair. Memory is linear. Computed in float64.

    Args:
        z: (n, d) unit vectors.
        labels: (n,) integers, or None to count all pairs.
        t: t > 0; the source has 2.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_tensor("z", z, "floating", ("n", "d"), z)
    if labels is not None:
        check_tensor("labels", labels, "integer", (z.shape[0],), z)
    check_finite("z", z)
    check_number("t", t, 0.0, open_low=True)
    exact = z.detach().double()
    squares = exact.square().sum(dim=1)
    columns = torch.arange(z.shape[0], device=z.device)
    sums, count = [], 0
    for rows in row_blocks(z.shape[0], z.shape[0]):
        distances = (squares[rows, None] + squares - 2 * exact[rows] @ exact.T).clamp_min_(0.0)
        pairs = columns[rows, None] != columns if labels is None else labels[rows, None] != labels
        sums.append(distances.mul_(-t).masked_fill_(~pairs, -torch.inf).flatten().logsumexp(dim=0))
        count += int(pairs.sum())
    return float(torch.stack(sums).logsumexp(dim=0)) - math.log(count) if count else math.nan
