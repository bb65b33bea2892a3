"""What methods share that compare the domains of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.spec.frozen import Frozen
from coretune.tuning.arguments import bad_argument, computing_dtype
from coretune.tuning.domain_means import memberships
from coretune.tuning.method import Step
from coretune.tuning.methods.cross_entropy import CrossEntropy

BATCHES, LEFT_OUT = "contrast_batches", "contrast_batches_left_out"
"""Counts: contrast batches, and those in which there was nothing to compare."""


class OfDomains(CrossEntropy):
    """Base of methods of domain generalisation: a linear classifier, and losses within the domains of a contrast batch.

    DomainBed (Gulrajani and Lopez-Paz, ICLR 2021, arXiv 2007.01434), whose definitions these methods have, draws as
    many images of each domain in every step; here `train.domain_balanced` does. Without it a domain may have few
    samples in a contrast batch, or none: it is left out then.

    Args:
        params: The method's parameters; their `needs_domains` is true.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        domains: How many domains are trained on.
    """

    def __init__(self, params: Frozen, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.domains = 0

    def tell_domains(self, number: int) -> None:
        """Learns how many domains are trained on."""
        self.domains = number

    def members(self, step: Step) -> Tensor:
        """Returns (D, n) bool, which samples are of which domain.

        Raises:
            ValueError: The step does not say, or the method was not told how many domains there are.
        """
        if step.domain is None or not self.domains:
            raise bad_argument(
                "step.domain", "None", f"the domain of each sample, (n,) integers, for {type(self).__name__}"
            )
        return memberships(step.domain, self.domains)

    def left_out(self, members: Tensor, needed: int) -> dict[str, Tensor]:
        """Returns the counts of a contrast batch: itself, and whether fewer domains than needed have two samples."""
        few = (members.sum(dim=1) >= 2).sum() < needed
        return {BATCHES: few.new_ones((), dtype=torch.int64), LEFT_OUT: few.long()}

    def losses(self, step: Step) -> tuple[Tensor, Tensor]:
        """Returns the logits (n, C) and the cross-entropy (n,) of each sample, in float32 (float64 for float64)."""
        logits: Tensor = self.classifier(step.features)
        logits = logits.to(computing_dtype(logits))
        return logits, F.cross_entropy(logits, step.labels, reduction="none")


def said_of(counts: Mapping[str, int], why: str) -> list[str]:
    """Returns a note of the contrast batches in which there was nothing to compare; none where there were none."""
    missed, number = counts.get(LEFT_OUT, 0), counts.get(BATCHES, 0)
    return [f"in {missed:,} of {number:,} contrast batches {why}"] if missed else []
