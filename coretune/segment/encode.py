"""Images to a segmentation model's outputs: in batch-norm groups and micro-batches, by one process or several."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from coretune.nets.model import Model
from coretune.segment.model import Outputs, SegmentationModel
from coretune.tuning.context import Context
from coretune.tuning.division import Part
from coretune.tuning.encode_part import encode_part


class _Rows(nn.Module):
    """A segmentation model up to its classifier as what encodes images, to one row each, so that rows can be exchanged.

    Attributes:
        encoder: Backbone and head: all whose batch norm shares statistics.
        shapes: Of one image's features and auxiliary logits, once images were encoded.
    """

    def __init__(self, model: SegmentationModel, *, auxiliary: bool) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([model.encoder, model.head])
        self._model = (model,)  # in a tuple, since an attribute would make it a part of this module twice
        self._auxiliary = auxiliary
        self.shapes: list[torch.Size] = []

    def features(self, images: Tensor) -> Tensor:
        """Returns (n, F) of images (n, 3, H, W) in [0, 1]."""
        (model,) = self._model
        maps = model.backbone.maps(model.normalise(images))
        side = model.head.auxiliary(maps) if self._auxiliary else None
        found = [model.head.decode(maps), *([] if side is None else [side])]
        self.shapes = [each.shape[1:] for each in found]
        return torch.cat([each.flatten(1) for each in found], dim=1)


def encoded(model: SegmentationModel, images: Tensor, part: Part, context: Context, *, auxiliary: bool) -> Outputs:
    """Returns the outputs of n images, as one process would compute them, the same on all processes.

    Args:
        model: In training mode.
        images: (m, 3, H, W), those of the m images that this process encodes; all n with one worker.
        part: The n images: their batch-norm groups, and who encodes which.
        context: Micro-batch, and the processes.
        auxiliary: Whether the auxiliary head's logits are wanted.
    """
    rows = _Rows(model, auxiliary=auxiliary)
    found = encode_part(cast(Model, rows), images, part, context)
    features, *side = (
        piece.reshape(piece.shape[0], *shape)
        for piece, shape in zip(
            torch.split(found, [shape.numel() for shape in rows.shapes], dim=1), rows.shapes, strict=True
        )
    )
    return Outputs(features, model.head.classify(features), side[0] if side else None)
