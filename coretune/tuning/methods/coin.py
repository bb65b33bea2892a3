"""COIN: a stage of supervised contrast alone before SCL."""

from __future__ import annotations

from torch import Tensor

from coretune.spec.catalog.methods.contrast import CoinParameters
from coretune.tuning.methods.scl import SupervisedContrast


class ContrastiveInitialization(SupervisedContrast):
    """COIN of Pan, Guo, Deng, Yang, Chen and Chen (Neural Networks 2023, arXiv 2208.00238).

        L = L_con                 in the first stage, 70 % of the training
        L = L_ce + η L_con        in the second

    L_con is SupCon on the unit vectors of a projection head (see `SupervisedContrast`). One schedule of the learning
    rate runs through both stages; that, 70 %, η = 0.1 and τ = 0.3 are those of the released script for CIFAR-10. The
    classifier gets no gradient in the first stage: until the second, accuracies are those of its random weights, and
    a pruner would compare chance.

    The released code's contrast (PanHaulin/COIN) is not SupCon: it counts the anchor among its own positives, and
    divides an anchor's sum by the batch size where SupCon divides by the number of positives. Its L_con is about C
    times smaller, so its η is not comparable to this one. Its classifier has no bias.

    Args:
        params: η, τ, the length of the first stage, and the projection head's widths.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: CoinParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.first_stage = params.first_stage

    def total(self, cross_entropy: Tensor, contrastive: Tensor, progress: float) -> Tensor:
        """Returns what is minimised at some point of the training.

        Args:
            cross_entropy: Scalar L_ce.
            contrastive: Scalar L_con.
            progress: Finished fraction of the training, in [0, 1).
        """
        if progress < self.first_stage:
            return contrastive
        return super().total(cross_entropy, contrastive, progress)
