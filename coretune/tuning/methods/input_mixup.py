"""Mixup of images."""

from __future__ import annotations

import torch
from torch import Tensor

from coretune.spec.catalog.methods.mixing import InputMixupParameters
from coretune.tuning.batch_mixup import batch_mixup
from coretune.tuning.methods.mixed_images import MixedImages


class InputMixup(MixedImages):
    """Cross-entropy on mixed images with mixed labels (Zhang et al., ICLR 2018, arXiv 1710.09412, section 2).

        x̃_i = λ x_i + (1 − λ) x_π(i)        L = −1/n Σ_i Σ_c ỹ_ic log softmax(W f(x̃_i) + b)_c

    One λ ~ Beta(α, α) and one random permutation π for each **contrast batch**, as the paper's listing and its code
    have for each batch; a batch of several contrast batches has as many of both. Images are mixed after augmentation,
    before normalisation, which commutes with mixing. No unmixed image is trained on.

    α = 1 is the default of the released code and the paper's choice for CIFAR; for ImageNet it has 0.1 to 0.4, and
    finds that a large α underfits.

    Args:
        params: α.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: InputMixupParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.alpha = params.alpha

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns the mixed images (n, 3, H, W) and their labels (n, C)."""
        mixtures = batch_mixup(images, labels, self.classes, alpha=self.alpha, generator=generator)
        return mixtures.values, mixtures.targets
