"""Core-tuning: focal contrast with hard pairs, and a smooth classifier."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from coretune.spec.catalog.methods.core_tuning import CoreTuningParameters
from coretune.tuning.heads import ProjectionHead
from coretune.tuning.losses import focal_contrastive, soft_cross_entropy
from coretune.tuning.method import LossTerms, Step
from coretune.tuning.methods.mixture_ce import MixtureCE
from coretune.tuning.mixup import HardPairs


class CoreTuning(MixtureCE):
    """L = L_ce^m + η L_con^f of Zhang, Hooi, Hu, Liang and Feng (NeurIPS 2021, arXiv 2102.06605).

    Hard pairs are made of the features of a contrast batch; L_ce^m is the soft cross-entropy over originals and
    mixtures (3n rows), L_con^f the focal contrast of their projections. The paper's ablations are switches: without
    `smooth_classifier` L_ce^m is over the originals, without `contrast_mixtures` L_con^f is among them, with `mining:
    random` pairs are random ones. `pairs` across or within domains are ours, and no part of the paper. A NaN in the
    features passes through to the loss, where the training loop looks for it.

    Args:
        params: η, τ, α, γ and the options.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: CoreTuningParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.projector = ProjectionHead(features, params.projection_dim, params.projection_hidden)

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch.

        Returns:
            Terms `cross_entropy` and `contrastive` (before η; 0 where η = 0, since it is not computed then), in nats;
            count `anchors_without_positive`; with pairs of some domains, terms and counts as `told_of` adds them.
        """
        pairs = self.pairs(step)
        loss = combined(
            pairs,
            self.classifier,
            self._contrast,
            eta=self.params.eta,
            smooth_classifier=self.params.smooth_classifier,
        )
        return self.told_of(pairs, loss)

    def _contrast(self, pairs: HardPairs) -> Tensor:
        return contrast_of(pairs, self.projector, self.params)


def contrast_of(pairs: HardPairs, projector: nn.Module, params: CoreTuningParameters) -> Tensor:
    """Returns the focal contrast L_con^f of samples and their mixtures, in nats.

    Args:
        pairs: The originals and their mixtures.
        projector: Features (N, d) → unit vectors (N, dim).
        params: τ, γ, and what an anchor sees.
    """
    if not params.contrast_mixtures:
        originals = slice(pairs.positive_mix.shape[0])
        return focal_contrastive(
            projector(pairs.features[originals]),
            pairs.groups[originals],
            temperature=params.temperature,
            gamma=params.gamma,
            validate=False,
        )
    return focal_contrastive(
        projector(pairs.features),
        pairs.groups,
        anchors=pairs.anchors,
        owner=pairs.owner,
        temperature=params.temperature,
        gamma=params.gamma,
        scope=params.scope,
        weights=pairs.positive_weights if params.positive_weight == "lambda" else None,
        validate=False,
    )


def combined(
    pairs: HardPairs,
    classifier: nn.Module,
    contrast: Callable[[HardPairs], Tensor],
    *,
    eta: float,
    smooth_classifier: bool,
) -> LossTerms:
    """Returns L_ce + η L_con of a contrast batch and its mixtures.

    Args:
        pairs: The originals and their mixtures.
        classifier: Features (N, d) → logits (N, C).
        contrast: The contrastive loss of the pairs; not asked for where η = 0.
        eta: η.
        smooth_classifier: Whether the cross-entropy is over the mixtures too.
    """
    rows = slice(None) if smooth_classifier else slice(pairs.positive_mix.shape[0])
    cross_entropy = soft_cross_entropy(classifier(pairs.features[rows]), pairs.targets[rows], validate=False)
    contrastive = torch.zeros_like(cross_entropy) if eta == 0 else contrast(pairs)
    return LossTerms(
        total=cross_entropy + eta * contrastive,
        terms={"cross_entropy": cross_entropy.detach(), "contrastive": contrastive.detach()},
        counts={"anchors_without_positive": (~pairs.has_positive).sum()},
    )
