"""CutMix."""

from __future__ import annotations

import torch
from torch import Tensor

from coretune.spec.catalog.methods.mixing import CutMixParameters
from coretune.tuning.batch_cutmix import batch_cutmix
from coretune.tuning.methods.mixed_images import MixedImages


class CutMix(MixedImages):
    """Cross-entropy on images with a rectangle of another, and mixed labels (Yun et al., ICCV 2019, arXiv 1905.04899).

        x̃_i = M ⊙ x_i + (1 − M) ⊙ x_π(i)        L = −1/n Σ_i Σ_c ỹ_ic log softmax(W f(x̃_i) + b)_c

    M is 0 in a rectangle whose sides are √(1 − λ) of the image's, λ ~ Beta(α, α), and 1 elsewhere; ỹ_i mixes the two
    labels by the shares of the image that they have (`batch_cutmix`). One λ, one rectangle and one random permutation π
    for each **contrast batch**, as the paper's listing has for each batch. Images are mixed after augmentation.

    α = 1 is the paper's choice. Its released code cuts every batch of ImageNet and half of CIFAR's (`probability`).

    Args:
        params: α, and how often images are cut.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: CutMixParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.alpha = params.alpha
        self.probability = params.probability

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns the mixed images (n, 3, H, W) and their labels (n, C)."""
        mixtures = batch_cutmix(
            images, labels, self.classes, alpha=self.alpha, probability=self.probability, generator=generator
        )
        return mixtures.values, mixtures.targets
