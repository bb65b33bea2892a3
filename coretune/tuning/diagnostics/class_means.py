"""Class means, which most measures of geometry begin with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coretune.tuning.arguments import check_finite, check_tensor

ROUNDING = 16 * torch.finfo(torch.float64).eps
"""Differences of means that are smaller than this part of the means are rounding, and taken as 0."""


@dataclass(frozen=True)
class ClassMeans:
    """The means of the K classes that occur, each class counting the same.

    Attributes:
        classes: (K,) their numbers, ascending.
        member: (n,) each sample's row in `means`.
        counts: (K,) samples of each, float64.
        means: (K, d) μ_c, float64.
        centre: (d,) μ_G = 1/K Σ_c μ_c, the mean of all samples if the classes are of one size.
    """

    classes: Tensor
    member: Tensor
    counts: Tensor
    means: Tensor
    centre: Tensor

    @property
    def centred(self) -> Tensor:
        """(K, d) μ_c − μ_G; exactly 0 where all means are the same up to rounding."""
        centred = self.means - self.centre
        return torch.where(centred.abs().amax() > ROUNDING * self.means.abs().amax(), centred, 0.0)

    def deviations(self, features: Tensor) -> Tensor:
        """Returns (n, d) h_i − μ_c(i) in float64, of the features that the means are of."""
        return features.detach().double() - self.means[self.member]

    def mean_over_classes(self, values: Tensor) -> Tensor:
        """Returns the mean over the classes of each class's mean of per-sample values: (n, ...) → (...)."""
        sums = values.new_zeros(self.counts.shape[0], *values.shape[1:]).index_add_(0, self.member, values)
        return (sums / self.counts.view(-1, *[1] * (values.ndim - 1))).mean(dim=0)


def class_means(features: Tensor, labels: Tensor) -> ClassMeans:
    """Returns the class means of some features, in float64.

    Args:
        features: (n, d).
        labels: (n,) integers.

    Raises:
        ValueError: An argument has a wrong shape, dtype or device, or is not finite.
    """
    check_features(features, labels)
    classes, member, counts = torch.unique(labels.long(), return_inverse=True, return_counts=True)
    exact = features.detach().double()
    sums = exact.new_zeros(classes.shape[0], exact.shape[1]).index_add_(0, member, exact)
    means = sums / counts[:, None]
    return ClassMeans(classes, member, counts.double(), means, means.mean(dim=0))


def check_features(features: Tensor, labels: Tensor) -> None:
    """Refuses what are not n finite feature vectors and their n classes.

    Raises:
        ValueError: They are not.
    """
    check_tensor("features", features, "floating", ("n", "d"), features)
    check_tensor("labels", labels, "integer", (features.shape[0],), features)
    check_finite("features", features)
