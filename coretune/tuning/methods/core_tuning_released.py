"""Core-tuning as its authors' released script computes it."""

from __future__ import annotations

from torch import Tensor, nn

from coretune.nets.scale_shift import BATCH_NORM
from coretune.spec.catalog.methods.core_tuning import CoreTuningReleasedParameters
from coretune.tuning.heads import ProjectionHead, linear_classifier
from coretune.tuning.losses import focal_contrastive
from coretune.tuning.method import LossTerms, Method, Step
from coretune.tuning.methods.core_tuning import combined
from coretune.tuning.mixup import HardPairs, hard_pairs


class CoreTuningReleased(Method):
    """L = L_ce^m + η L_con^f as Core-tuning.py of github.com/Vanint/Core-tuning computes both.

        L_con^f = −1/|V| Σ_{i∈V} 1/(3n) Σ_{k∈P_i} (1 − p_ik) log p_ik

    over all 3n rows: every row is an anchor and sees all others, P_i are the rows of the same soft label, V the rows
    with P_i not empty; an anchor's sum is divided by 3n, not by |P_i|. Partners are chosen as
    `coretune.tuning.released` says. The originals are detached in both losses: the classifier and the projection head
    learn from them, the backbone from the mixtures only.

    Deliberately different: a NaN is not turned into 0 but fails the run, and batch norm's momentum of 0.19 stands for
    the script's second forward pass, which it makes for its accuracy meter: 1 − (1 − 0.1)².

    Args:
        params: η, τ, α and the options.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    classifier: nn.Linear

    def __init__(self, params: CoreTuningReleasedParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.classes = classes
        self.classifier = linear_classifier(features, classes, bias=params.classifier_bias)
        self.projector = ProjectionHead(features, params.projection_dim, params.projection_hidden)

    def prepare(self, encoder: nn.Module) -> None:
        """Sets the momentum of the backbone's batch norm."""
        for module in encoder.modules():
            if isinstance(module, BATCH_NORM) and self.params.batch_norm_momentum is not None:
                module.momentum = self.params.batch_norm_momentum

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch; terms and count as of `CoreTuning`."""
        pairs = hard_pairs(
            step.features,
            step.labels,
            self.classes,
            variant="released",
            alpha=self.params.alpha,
            generator=step.generator,
            detach_originals=self.params.detach_originals,
            grouping=self.params.grouping,
            validate=False,
        )
        return combined(
            pairs,
            self.classifier,
            self._contrast,
            eta=self.params.eta,
            smooth_classifier=self.params.smooth_classifier,
        )

    def _contrast(self, pairs: HardPairs) -> Tensor:
        return focal_contrastive(
            self.projector(pairs.features),
            pairs.groups,
            temperature=self.params.temperature,
            normalizer="batch",
            validate=False,
        )
