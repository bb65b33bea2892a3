"""Manifold mixup at the penultimate layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from coretune.spec.catalog.methods.mixing import ManifoldMixupParameters
from coretune.tuning.arguments import computing_dtype
from coretune.tuning.batch_mixup import batch_mixup
from coretune.tuning.heads import linear_classifier
from coretune.tuning.losses import soft_cross_entropy
from coretune.tuning.method import LossTerms, Method, Step


class ManifoldMixup(Method):
    """Cross-entropy on mixed features with mixed labels (Verma et al., ICML 2019, arXiv 1806.05236, section 2).

        z̃_i = λ z_i + (1 − λ) z_π(i)        L_mix = −1/n Σ_i Σ_c ỹ_ic log softmax(W z̃_i + b)_c

    One λ ~ Beta(α, α) and one random permutation π for each **contrast batch**, as the released code has for each
    batch. The paper draws the layer to mix at anew for each batch, mostly the input or an early one; here it is always
    the last before the classifier, where Core-tuning mixes. What is left against Core-tuning's smooth classifier is
    whom a sample is mixed with (a random one, not hard positives and negatives), and whether originals count.

    As in the paper, mixtures alone are trained on. `originals` takes the mean over the n originals and the n mixtures,
    (L_ce + L_mix) / 2, as Core-tuning takes it over its 3n rows, so that the loss keeps its scale.

    The released code minimises the binary cross-entropy of each class's softmax probability; this is the paper's
    categorical one. α = 2 is what the authors' commands have for hidden layers.

    Args:
        params: α, and whether originals count.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    classifier: nn.Linear

    def __init__(self, params: ManifoldMixupParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.classes = classes
        self.classifier = linear_classifier(features, classes)

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch.

        Returns:
            Term `mixed_cross_entropy`, and with `originals` also `cross_entropy`, in nats.
        """
        mixtures = batch_mixup(
            step.features, step.labels, self.classes, alpha=self.params.alpha, generator=step.generator
        )
        mixed = soft_cross_entropy(self.classifier(mixtures.values), mixtures.targets, validate=False)
        if not self.params.originals:
            return LossTerms(total=mixed, terms={"mixed_cross_entropy": mixed.detach()})
        logits = self.classifier(step.features)
        plain = F.cross_entropy(logits.to(computing_dtype(logits)), step.labels)
        return LossTerms(
            total=(plain + mixed) / 2,
            terms={"cross_entropy": plain.detach(), "mixed_cross_entropy": mixed.detach()},
        )
