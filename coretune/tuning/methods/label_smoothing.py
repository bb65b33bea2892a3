"""CE-tuning with smoothed labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from coretune.spec.catalog.methods.baselines import LabelSmoothingParameters
from coretune.tuning.arguments import computing_dtype
from coretune.tuning.heads import linear_classifier
from coretune.tuning.method import LossTerms, Method, Step


class LabelSmoothing(Method):
    """Cross-entropy with the label's probability lowered to 1 − ε + ε/C, and that of every other class raised to ε/C.

        L = −1/n Σ_i Σ_c q_ic log softmax(W z_i + b)_c,        q_ic = (1 − ε) [c = y_i] + ε/C

    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (CVPR 2016, arXiv 1512.00567, section 7), with their uniform prior over
    all C classes, the true one included. The least possible value is not 0 but the entropy of q.

    Args:
        params: ε.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    classifier: nn.Linear

    def __init__(self, params: LabelSmoothingParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.smoothing = params.smoothing
        self.classifier = linear_classifier(features, classes)

    def loss(self, step: Step) -> LossTerms:
        """Returns the mean cross-entropy with smoothed labels, in nats; term `cross_entropy`."""
        logits = self.classifier(step.features)
        total = F.cross_entropy(logits.to(computing_dtype(logits)), step.labels, label_smoothing=self.smoothing)
        return LossTerms(total=total, terms={"cross_entropy": total.detach()})
