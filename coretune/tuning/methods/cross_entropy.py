"""CE-tuning: the baseline."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from coretune.spec.frozen import Frozen
from coretune.tuning.arguments import computing_dtype
from coretune.tuning.heads import linear_classifier
from coretune.tuning.method import LossTerms, Method, Step


class CrossEntropy(Method):
    """Cross-entropy of a linear classifier on the backbone's features.

    Args:
        params: None are needed.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    classifier: nn.Linear

    def __init__(self, params: Frozen, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.classifier = linear_classifier(features, classes)

    def loss(self, step: Step) -> LossTerms:
        """Returns the mean cross-entropy in nats; term `cross_entropy`."""
        logits = self.classifier(step.features)
        total = F.cross_entropy(logits.to(computing_dtype(logits)), step.labels)
        return LossTerms(total=total, terms={"cross_entropy": total.detach()})
