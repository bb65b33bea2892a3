"""The methods of segmentation: cross-entropy, and Core-tuning of sampled pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from coretune.segment.heads import DenseHead
from coretune.segment.labels import majority_labels
from coretune.segment.losses import mask_cross_entropy, soft_pixel_cross_entropy
from coretune.segment.model import Outputs, batch_norm_of, upsampled
from coretune.segment.pixels import choose_pixels
from coretune.spec.catalog.methods.core_tuning import CoreTuningParameters
from coretune.spec.frozen import Frozen
from coretune.spec.segmentation import SegmentationSpec
from coretune.tuning.heads import ProjectionHead
from coretune.tuning.method import LossTerms, Method
from coretune.tuning.methods.core_tuning import contrast_of
from coretune.tuning.methods.mixture_ce import mixtures_of


@dataclass(frozen=True)
class PixelStep:
    """What a method sees of one contrast batch of n images.

    Attributes:
        outputs: The model's, attached to the graph.
        masks: (n, H, W) int64: classes, or `VOID`.
        weights: (C,) weights of classes, or None.
        generator: CPU generator of this contrast batch alone.
    """

    outputs: Outputs
    masks: Tensor
    weights: Tensor | None
    generator: torch.Generator


class DenseMethod(Method):
    """Base of the methods of segmentation. The head is their first module: all of a seed start from the same one.

    Args:
        params: The method's declared parameters.
        options: What the study says of segmentation.
        head: The head, which becomes the classifier.
    """

    def __init__(self, params: Frozen, *, options: SegmentationSpec, head: DenseHead) -> None:
        super().__init__(params, features=head.features, classes=head.classes)
        self.options = options
        self.classifier: DenseHead = head
        self._resting: tuple[nn.Module, ...] = ()

    def prepare(self, encoder: nn.Module) -> None:
        """Notes the batch-norm layers that keep their pre-trained statistics."""
        if self.options.batch_norm == "pretrained":
            # In a tuple, since an attribute would make them a part of this module too.
            self._resting = batch_norm_of(encoder)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode, and puts the batch norm that keeps its statistics back into evaluation mode.

        The training loop calls this after it has put the model into training mode, before each epoch and on a resume.
        """
        for module in self._resting:
            module.eval()
        return super().train(mode)

    def pixel_loss(self, step: PixelStep) -> LossTerms:
        """Returns the loss of one contrast batch."""
        raise NotImplementedError(type(self).__name__)

    def supervised(self, step: PixelStep) -> tuple[Tensor, Tensor]:
        """Returns the cross-entropy of all pixels, and that of the auxiliary head, before its weight."""
        size = (step.masks.shape[1], step.masks.shape[2])
        own = mask_cross_entropy(upsampled(step.outputs.logits, size), step.masks, step.weights)
        if step.outputs.auxiliary is None:
            return own, torch.zeros_like(own)
        return own, mask_cross_entropy(upsampled(step.outputs.auxiliary, size), step.masks, step.weights)


class DenseCrossEntropy(DenseMethod):
    """Cross-entropy of all pixels, L = CE + a · CE_auxiliary: the baseline.

    Args:
        params: None are needed.
        options: a, `auxiliary`.
        head: The head.
    """

    def pixel_loss(self, step: PixelStep) -> LossTerms:
        """Returns the loss in nats; terms `cross_entropy` and `auxiliary` (before a)."""
        own, side = self.supervised(step)
        terms = {"cross_entropy": own.detach(), "auxiliary": side.detach()}
        return LossTerms(own + self.options.auxiliary * side, terms)


class DenseCoreTuning(DenseMethod):
    """Core-tuning of pixels: L = (1 − m) CE + m CE_mixtures + a · CE_auxiliary + η L_con^f.

    The paper (arXiv 2102.06605) gives the outline alone; docs/segmentation.md explains the choices. CE is of all
    pixels, as in the baseline. Pixels of the penultimate features are sampled (`choose_pixels`); their hard negatives
    and hard positives, 2N mixtures of N pixels as in the paper, go through the classifier with their soft labels
    (CE_mixtures), and with the pixels themselves through a projection head into the focal contrast L_con^f. As a layer
    of single pixels the projection head is one of 1×1 convolutions.

    Args:
        params: η, τ, α, γ and the options, as for images. The head has a bias: a study with `classifier_bias: false`
            is refused.
        options: What is sampled, m (`mixtures`) and a (`auxiliary`).
        head: The head.
    """

    def __init__(self, params: CoreTuningParameters, *, options: SegmentationSpec, head: DenseHead) -> None:
        super().__init__(params, options=options, head=head)
        self.params = params
        self.projector = ProjectionHead(head.features, params.projection_dim, params.projection_hidden)

    def pixel_loss(self, step: PixelStep) -> LossTerms:
        """Returns the loss of one contrast batch in nats.

        Returns:
            Terms `cross_entropy`, `auxiliary` (before a), `mixtures` (of soft labels) and `contrastive` (before η; 0
            where η = 0, since it is not computed then); counts `sampled_pixels` and `anchors_without_positive`.
        """
        own, side = self.supervised(step)
        rows, labels = self.sample(step)
        share = self.options.mixtures if self.params.smooth_classifier else 0.0
        if not len(rows):  # nothing but void: there is nothing to mix
            nothing = step.outputs.features.sum() * 0
            return self._terms(own, side, nothing, nothing, share, labels, labels)
        pairs = mixtures_of(rows, labels, self.classifier.classes, step.generator, self.params)
        mixed = slice(len(rows), None)
        soft = torch.zeros_like(own)
        if share > 0:
            logits = self.classifier.classify(pairs.features[mixed])
            soft = soft_pixel_cross_entropy(logits, pairs.targets[mixed], step.weights)
        contrast = torch.zeros_like(own) if self.params.eta == 0 else contrast_of(pairs, self.projector, self.params)
        return self._terms(own, side, soft, contrast, share, labels, ~pairs.has_positive)

    def sample(self, step: PixelStep) -> tuple[Tensor, Tensor]:
        """Returns the features (N, d) of the sampled pixels, attached to the graph, and their classes (N,)."""
        features, logits, options = step.outputs.features, step.outputs.logits, self.options
        size = (features.shape[2], features.shape[3])
        labels = majority_labels(step.masks, size, self.classifier.classes, options.purity)
        chosen = choose_pixels(
            labels,
            logits.argmax(dim=1) != labels,
            pixels=options.pixels,
            distance=options.distance,
            hard=options.hard,
            generator=step.generator,
        )
        rows = features.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, chosen)
        return rows, labels.flatten().index_select(0, chosen)

    def _terms(
        self,
        own: Tensor,
        side: Tensor,
        soft: Tensor,
        contrast: Tensor,
        share: float,
        sampled: Tensor,
        lonely: Tensor,
    ) -> LossTerms:
        total = (1 - share) * own + share * soft + self.options.auxiliary * side + self.params.eta * contrast
        terms = {"cross_entropy": own, "auxiliary": side, "mixtures": soft, "contrastive": contrast}
        counts = {
            "sampled_pixels": torch.tensor(len(sampled), device=own.device),
            "anchors_without_positive": lonely.sum(),
        }
        return LossTerms(total, {name: value.detach() for name, value in terms.items()}, counts)
