"""SCL: supervised contrast beside cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from coretune.spec.catalog.methods.contrast import SclParameters
from coretune.tuning.arguments import computing_dtype
from coretune.tuning.heads import ProjectionHead, linear_classifier
from coretune.tuning.losses import focal_contrastive
from coretune.tuning.method import LossTerms, Method, Step


class SupervisedContrast(Method):
    """L = L_ce + η L_con of Gunel, Du, Conneau and Stoyanov (ICLR 2021, arXiv 2011.01403), as Core-tuning compares it.

        L_con = −1/|V| Σ_{i∈V} 1/|P_i| Σ_{k∈P_i} log exp(z_i·z_k/τ) / Σ_{j≠i} exp(z_i·z_j/τ)

    z are unit vectors of a projection head, P_i the other samples of i's class in the contrast batch, V the samples
    with P_i not empty: SupCon with the sum outside the log. It is Core-tuning's contrast with γ = 0 and no mixtures.

    The paper weighs the terms (1 − λ) L_ce + λ L_con with λ = 0.9 and τ = 0.3, contrasts the features of a language
    model themselves, without a projection head, and sums over the batch, where this takes the mean over V. With
    η = λ / (1 − λ) the two weightings are the same loss up to the factor 1 − λ, which a learning rate makes up for.

    Args:
        params: η, τ, and the projection head's widths.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    classifier: nn.Linear

    def __init__(self, params: SclParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.eta = params.eta
        self.temperature = params.temperature
        self.classifier = linear_classifier(features, classes)
        self.projector = ProjectionHead(features, params.projection_dim, params.projection_hidden)

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch.

        Returns:
            Terms `cross_entropy` and `contrastive` (before η), in nats; count `anchors_without_positive`.
        """
        logits = self.classifier(step.features)
        cross_entropy = F.cross_entropy(logits.to(computing_dtype(logits)), step.labels)
        contrastive = focal_contrastive(
            self.projector(step.features), step.labels, temperature=self.temperature, gamma=0.0, validate=False
        )
        of_class = (step.labels[:, None] == step.labels).sum(dim=1)
        return LossTerms(
            total=self.total(cross_entropy, contrastive, step.progress),
            terms={"cross_entropy": cross_entropy.detach(), "contrastive": contrastive.detach()},
            counts={"anchors_without_positive": (of_class == 1).sum()},
        )

    def total(self, cross_entropy: Tensor, contrastive: Tensor, progress: float) -> Tensor:
        """Returns what is minimised at some point of the training.

        Args:
            cross_entropy: Scalar L_ce.
            contrastive: Scalar L_con.
            progress: Finished fraction of the training, in [0, 1).
        """
        return cross_entropy + self.eta * contrastive
