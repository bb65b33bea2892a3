"""CORAL: features of all domains have the same mean and covariance."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from coretune.spec.catalog.methods.domains import CoralParameters
from coretune.tuning.arguments import computing_dtype, full_precision
from coretune.tuning.domain_means import domain_means
from coretune.tuning.method import LossTerms, Step
from coretune.tuning.methods.of_domains import OfDomains, said_of


class Coral(OfDomains):
    """Correlation alignment (Sun and Saenko, ECCV 2016 workshops, arXiv 1607.01719) among domains, as DomainBed has it.

        L = 1/D Σ_d CE_d + γ · 2/(D (D − 1)) Σ_{d<e} D_de
        D_de = 1/d Σ_k (μ_dk − μ_ek)² + 1/d² Σ_kl (C_dkl − C_ekl)²

    CE_d is the mean cross-entropy of domain d's samples in a contrast batch, μ_d the mean and C_d the unbiased
    covariance (n_d − 1) of their features (width d). The paper has the second term alone, ¼ of it, between two domains.
    Domains with fewer than two samples are in no pair; without a pair the penalty is 0.

    Args:
        params: γ.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: CoralParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.gamma = params.gamma

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch in nats; terms `cross_entropy`, `alignment` (before γ)."""
        members = self.members(step)
        cross_entropy = domain_means(self.losses(step)[1], members).over_domains()
        alignment = misalignment(step.features, members)
        return LossTerms(
            total=cross_entropy + self.gamma * alignment,
            terms={"cross_entropy": cross_entropy.detach(), "alignment": alignment.detach()},
            counts=self.left_out(members, CoralParameters.domains_with_two),
        )

    def notes(self, counts: Mapping[str, int]) -> list[str]:
        """Says in how many contrast batches there was no pair of domains."""
        return said_of(counts, "no two domains had two images: nothing was aligned")


def misalignment(features: Tensor, members: Tensor) -> Tensor:
    """Returns the mean of D_de over pairs of domains with two samples at least; 0 without a pair.

    Args:
        features: (n, d). Computed in float32 (float64 for float64), also under autocast.
        members: (D, n) bool, which samples are of which domain.

    Returns:
        Scalar, attached to the graph of the features.
    """
    with full_precision(features.device):
        values = features.to(computing_dtype(features))
        counts = members.sum(dim=1)
        means = domain_means(values, members).values
        covariances = [
            _covariance(values, mean, own, count) for mean, own, count in zip(means, members, counts, strict=True)
        ]
        usable = counts >= 2
        total, pairs = values.sum() * 0, usable.new_zeros((), dtype=values.dtype)
        for one, other in itertools.combinations(range(len(members)), 2):
            both = (usable[one] & usable[other]).to(values.dtype)
            distance = (means[one] - means[other]).square().mean()
            distance = distance + (covariances[one] - covariances[other]).square().mean()
            total, pairs = total + both * distance, pairs + both
        return total / pairs.clamp_min(1)


def _covariance(values: Tensor, mean: Tensor, own: Tensor, count: Tensor) -> Tensor:
    """Returns (d, d) the unbiased covariance of the rows that are a domain's own."""
    centred = torch.where(own[:, None], values - mean, 0.0)
    return centred.T @ centred / (count - 1).clamp_min(1)
