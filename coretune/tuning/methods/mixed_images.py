"""What methods share that train on mixed images alone."""

from __future__ import annotations

from torch import nn

from coretune.spec.frozen import Frozen
from coretune.tuning.heads import linear_classifier
from coretune.tuning.losses import soft_cross_entropy
from coretune.tuning.method import LossTerms, Method, Step


class MixedImages(Method):
    """Base of methods whose `mix` mixes every image, and whose loss is cross-entropy with the mixed labels.

        L = −1/n Σ_i Σ_c ỹ_ic log softmax(W f(x̃_i) + b)_c

    Args:
        params: The method's parameters.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    whole_images = True
    classifier: nn.Linear

    def __init__(self, params: Frozen, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.classes = classes
        self.classifier = linear_classifier(features, classes)

    def loss(self, step: Step) -> LossTerms:
        """Returns the mean cross-entropy with mixed labels, in nats; term `cross_entropy`.

        Raises:
            RuntimeError: The step has no soft labels: its images were not mixed.
        """
        if step.targets is None:
            raise RuntimeError(
                f"{type(self).__name__}.loss of a step without targets: its images did not go through mix"
            )
        total = soft_cross_entropy(self.classifier(step.features), step.targets, validate=False)
        return LossTerms(total=total, terms={"cross_entropy": total.detach()})
