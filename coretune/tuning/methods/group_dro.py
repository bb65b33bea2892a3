"""GroupDRO: the domain that is learned worst counts most."""

from __future__ import annotations

import torch
from torch import Tensor

from coretune.spec.catalog.methods.domains import GroupDroParameters
from coretune.tuning.domain_means import domain_means
from coretune.tuning.method import LossTerms, Step
from coretune.tuning.methods.of_domains import OfDomains


class GroupDro(OfDomains):
    """Group distributionally robust optimisation (Sagawa, Koh, Hashimoto and Liang, ICLR 2020, arXiv 1911.08731).

        q_d ← q_d exp(η CE_d) / Σ_e q_e exp(η CE_e)        L = Σ_d q_d CE_d

    Algorithm 1 of the paper with domains as groups, all of them in every step as in DomainBed; q begins uniform, and no
    gradient flows through it. CE_d is the mean cross-entropy of domain d's samples in a contrast batch, and q moves
    once a contrast batch: a batch of several moves it as often. A domain without a sample there keeps its weight,
    relative to the others', and L is over the rest, Σ q_d CE_d / Σ q_d.

    Args:
        params: η.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        q: (D,) the weights of the domains; saved with the state.
    """

    q: Tensor

    def __init__(self, params: GroupDroParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.eta = params.eta
        self.register_buffer("q", torch.zeros(0))

    def tell_domains(self, number: int) -> None:
        """Begins with equal weights."""
        super().tell_domains(number)
        self.q = torch.full((number,), 1 / number, dtype=self.q.dtype, device=self.q.device)

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch in nats.

        Returns:
            Terms `cross_entropy`, the mean of the domains, and `largest_weight`, max q.
        """
        found = domain_means(self.losses(step)[1], self.members(step))
        with torch.no_grad():
            moved = self.q * (self.eta * found.values).exp()
            self.q.copy_(moved / moved.sum())
            weights = torch.where(found.present, self.q, 0.0).to(found.values.dtype)
            weights = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
        return LossTerms(
            total=weights @ found.values,
            terms={"cross_entropy": found.over_domains().detach(), "largest_weight": self.q.max().clone()},
        )
