"""The model around a backbone: images in [0, 1] in, features or logits out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from coretune.errors import RequestError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """(x − mean) / std by channel.

    Args:
        mean: Per channel, of values in [0, 1].
        std: Per channel, above 0.

    Raises:
        RequestError: A standard deviation is not above 0, or the lengths differ.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise RequestError(f"normalisation needs one mean and one std > 0 per channel, got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns the normalised images, (n, C, H, W)."""
        return (images - self.mean) / self.std


class Model(nn.Module):
    """Normalisation, backbone and classifier. Everything outside of it sees images in [0, 1].

    Args:
        encoder: Backbone, normalised images (n, 3, H, W) → features (n, d).
        classifier: Head, features (n, d) → logits (n, C); None in pre-training.
        mean: Mean by channel; ImageNet's by default.
        std: Standard deviation by channel.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.encoder = encoder
        self.classifier = classifier

    def features(self, images: Tensor) -> Tensor:
        """Returns features (n, d) of images (n, 3, H, W) in [0, 1]."""
        found: Tensor = self.encoder(self.normalise(images))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (n, C) of images (n, 3, H, W) in [0, 1].

        Raises:
            RequestError: The model has no classifier.
        """
        if self.classifier is None:
            raise RequestError("this model was pre-trained without labels: it has features, but no classifier")
        logits: Tensor = self.classifier(self.features(images))
        return logits
