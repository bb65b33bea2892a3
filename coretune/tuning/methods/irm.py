"""IRM: one classifier that is optimal on each domain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from coretune.spec.catalog.methods.domains import IrmParameters
from coretune.tuning.domain_means import domain_means
from coretune.tuning.method import LossTerms, Step
from coretune.tuning.methods.of_domains import OfDomains, said_of


class Irm(OfDomains):
    """Invariant risk minimisation, IRMv1 of Arjovsky, Bottou, Gulrajani and Lopez-Paz (arXiv 1907.02893), annealed.

        L = (1/D Σ_d CE_d + w · 1/D Σ_d g_d g'_d) / max(1, w)        w = 1 in the first epochs, then λ

    g_d and g'_d are the derivatives of two halves' mean cross-entropy with respect to a factor s of the logits, at s =
    1: their product is an unbiased estimate of the squared one (section 3.1, equation 5, and appendix D). As in
    DomainBed the halves are every other sample of a domain in a contrast batch, and the penalty's weight jumps from 1
    to λ after a part of the training; here with the next epoch, and the optimiser's memory of all parameters is begun
    anew then, which DomainBed does for Adam. A domain with a single sample has no halves: the penalty is over the
    others.

    The division by w, which changes no minimum, is that of the authors' released code: without it SGD, whose steps grow
    with the loss, diverges where λ is large. DomainBed leaves it out, for Adam, whose steps do not.

    Args:
        params: λ, and which part of the training is before it.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        weight: Scalar w; saved with the state.
    """

    weight: Tensor

    def __init__(self, params: IrmParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.register_buffer("weight", torch.tensor(1.0))
        # In a tuple, since an attribute would make the encoder a part of this module too.
        self._encoder: tuple[nn.Module, ...] = ()

    def prepare(self, encoder: nn.Module) -> None:
        """Remembers whose parameters the optimiser forgets."""
        self._encoder = (encoder,)

    def start_epoch(self, epoch: int, epochs: int, generator: torch.Generator) -> Iterable[nn.Parameter]:
        """Sets the penalty's weight; returns all parameters where it jumps."""
        self.weight.fill_(self.params.penalty if epoch >= full_penalty_from(self.params.anneal, epochs) else 1.0)
        if epoch == 0 or epoch != full_penalty_from(self.params.anneal, epochs):
            return ()
        return tuple(parameter for module in (*self._encoder, self) for parameter in module.parameters())

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch; terms `cross_entropy` in nats, `invariance` (before w)."""
        members = self.members(step)
        logits, losses = self.losses(step)
        cross_entropy = domain_means(losses, members).over_domains()
        penalty = invariance(logits, step.labels, members)
        weight = self.weight.to(penalty.dtype)
        return LossTerms(
            total=(cross_entropy + weight * penalty) / weight.clamp_min(1.0),
            terms={"cross_entropy": cross_entropy.detach(), "invariance": penalty.detach()},
            counts=self.left_out(members, IrmParameters.domains_with_two),
        )

    def notes(self, counts: Mapping[str, int]) -> list[str]:
        """Says in how many contrast batches no domain had two halves."""
        return said_of(counts, "no domain had two images: there was no penalty")


def full_penalty_from(anneal: float, epochs: int) -> int:
    """Returns the zero-based epoch from which on the penalty has its full weight; `epochs` for never."""
    return min(epochs, math.ceil(anneal * epochs))


def invariance(logits: Tensor, labels: Tensor, members: Tensor) -> Tensor:
    """Returns the mean over domains of g_d g'_d; 0 where no domain has two samples.

    The derivative of the cross-entropy of s z at s = 1 is Σ_c p_c z_c − z_y, p the softmax of z, so that no second
    backward pass is needed.

    Args:
        logits: (n, C) z.
        labels: (n,) int64 y.
        members: (D, n) bool, which samples are of which domain; the halves are every other one in this order.

    Returns:
        Scalar, attached to the graph of the logits.
    """
    slopes = (logits.softmax(dim=1) * logits).sum(dim=1) - logits.gather(1, labels[:, None])[:, 0]
    rank = members.long().cumsum(dim=1)
    first, second = (domain_means(slopes, members & (rank % 2 == odd)) for odd in (1, 0))
    both = (first.present & second.present).to(slopes.dtype)
    return (first.values * second.values * both).sum() / both.sum().clamp_min(1)
