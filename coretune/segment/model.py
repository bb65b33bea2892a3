"""The model of segmentation: images in [0, 1] to a class for each of their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.nets.backbone import Backbone
from coretune.nets.model import Model
from coretune.segment.heads import DenseHead


@dataclass(frozen=True)
class Outputs:
    """What the model computes of n images.

    Attributes:
        features: (n, d, h, w) penultimate features.
        logits: (n, C, h, w).
        auxiliary: (n, C, h', w') logits of the auxiliary head, or None.
    """

    features: Tensor
    logits: Tensor
    auxiliary: Tensor | None

    def part(self, rows: slice) -> Outputs:
        """Returns those of some of the images."""
        side = self.auxiliary
        return Outputs(self.features[rows], self.logits[rows], None if side is None else side[rows])


class SegmentationModel(Model):
    """Normalisation, dilated backbone and head.

    Args:
        encoder: The backbone, dilated.
        head: The head.
    """

    def __init__(self, encoder: Backbone, head: DenseHead) -> None:
        super().__init__(encoder, head, encoder.mean, encoder.std)

    @property
    def head(self) -> DenseHead:
        """The head."""
        return cast(DenseHead, self.classifier)

    @property
    def backbone(self) -> Backbone:
        """The backbone."""
        return cast(Backbone, self.encoder)

    def outputs(self, images: Tensor, *, auxiliary: bool = False) -> Outputs:
        """Returns features and logits at the head's resolution of images (n, 3, H, W) in [0, 1]."""
        maps = self.backbone.maps(self.normalise(images))
        features = self.head.decode(maps)
        return Outputs(features, self.head.classify(features), self.head.auxiliary(maps) if auxiliary else None)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (n, C, H, W) of images (n, 3, H, W) in [0, 1], at the size of the images."""
        return upsampled(self.outputs(images).logits, (images.shape[2], images.shape[3]))


def upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns logits (n, C, H, W) in float32 (float64 of float64) of coarser ones.

    Bilinear, with align_corners False, as everywhere here.

    Corners that are aligned would shift positions against the pixels that they were computed of, the more the coarser
    the map is.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def batch_norm_of(encoder: nn.Module) -> tuple[nn.Module, ...]:
    """Returns a backbone's batch-norm layers."""
    return tuple(module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
