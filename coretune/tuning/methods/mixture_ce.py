"""Mixture-CE: Core-tuning's classifier without its contrast, the control for "contrast helps"."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coretune.spec.catalog.methods.core_tuning import MixtureParameters
from coretune.tuning.heads import linear_classifier
from coretune.tuning.losses import soft_cross_entropy
from coretune.tuning.method import LossTerms, Method, Step
from coretune.tuning.mixup import HardPairs, hard_pairs


class MixtureCE(Method):
    """Soft cross-entropy over originals, hard negatives and hard positives: L_ce^m of arXiv 2102.06605, section 3.4.

    The same loss as Core-tuning's at η = 0, with the same draws, and no projection head.

    Args:
        params: α, the floors, how partners are found, and whether the originals are detached.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    classifier: nn.Linear

    def __init__(self, params: MixtureParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.mixture = params
        self.classes = classes
        self.classifier = linear_classifier(features, classes, bias=params.classifier_bias)

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch in nats.

        Returns:
            Term `cross_entropy` and count `anchors_without_positive`; with pairs of some domains, terms and counts as
            `told_of` adds them.
        """
        pairs = self.pairs(step)
        total = soft_cross_entropy(self.classifier(pairs.features), pairs.targets, validate=False)
        counts = {"anchors_without_positive": (~pairs.has_positive).sum()}
        return self.told_of(pairs, LossTerms(total, {"cross_entropy": total.detach()}, counts))

    def told_of(self, pairs: HardPairs, loss: LossTerms) -> LossTerms:
        """Returns a loss that also tells how often partners were of any domain, where pairs are of some domains.

        Returns:
            Terms `positive_fallback` and `negative_fallback`, shares of the samples; counts `positives_of_any_domain`
            and `negatives_of_any_domain`.
        """
        if self.mixture.pairs == "any":
            return loss
        positive, negative = pairs.positive_fallback, pairs.negative_fallback
        shares = {"positive_fallback": positive.float().mean(), "negative_fallback": negative.float().mean()}
        counts = {"positives_of_any_domain": positive.sum(), "negatives_of_any_domain": negative.sum()}
        return LossTerms(loss.total, {**loss.terms, **shares}, {**loss.counts, **counts})

    def pairs(self, step: Step) -> HardPairs:
        """Returns the mixtures of a contrast batch."""
        return mixtures_of(step.features, step.labels, self.classes, step.generator, self.mixture, step.domain)


def mixtures_of(
    features: Tensor,
    labels: Tensor,
    classes: int,
    generator: torch.Generator,
    params: MixtureParameters,
    domains: Tensor | None = None,
) -> HardPairs:
    """Returns samples and their mixtures, as `hard_pairs` does with a method's parameters.

    Args:
        features: (n, d).
        labels: (n,) int64 in [0, C).
        classes: C.
        generator: On the CPU.
        params: α, the floors, how partners are found, and whether the originals are detached.
        domains: (n,) domain of each, or None.
    """
    return hard_pairs(
        features,
        labels,
        classes,
        mining=params.mining,
        pairs=params.pairs,
        domains=domains,
        alpha=params.alpha,
        generator=generator,
        negative_floor=params.negative_floor,
        positive_floor=params.positive_floor,
        detach_originals=params.detach_originals,
        validate=False,
    )
