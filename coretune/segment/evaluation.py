"""The evaluation of a segmentation model, on whole images at their own size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.mask_pack import PackedMasks
from coretune.nets.backbone import Backbone, Sizes
from coretune.nets.model import Model
from coretune.segment.metrics import ConfusionMatrix
from coretune.spec.catalog.evaluations import SegmentationParameters
from coretune.tuning.context import Context

PIXELS = 1 << 20
"""Pixels of the images that are evaluated at once, at the most; one image is always evaluated whole."""


@torch.no_grad()
def evaluate_segmentation(
    model: Model,
    packed: PackedMasks,
    indices: NDArray[np.int64],
    context: Context,
    *,
    params: SegmentationParameters | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Evaluates a segmentation model on some images at their full size. Workers divide the images among them.

    Every pixel of an image that is of a class counts once, whatever it was padded or resized to. With `scales` or
    `flip` the class is that of the largest mean probability over the resized and the mirrored image.

    Args:
        model: A `SegmentationModel`, in evaluation mode, on the context's device.
        packed: Images and masks.
        indices: (m,) which of them.
        context: Device and batch size, and the workers.
        params: Scales and flip; None for the image as it is.
        seed: Without effect: nothing is drawn.

    Returns:
        `miou`, `pixel_accuracy` and `iou_<class>` in per cent.
    """
    params = params or SegmentationParameters()
    matrix = ConfusionMatrix(len(packed.classes), context.device, context.shard)
    for images, masks in whole_images(packed, indices[context.shard.rank :: context.shard.workers], context):
        matrix.update(predicted_classes(model, images, params), masks)
    return matrix.compute(packed.classes)


def whole_images(packed: PackedMasks, indices: NDArray[np.int64], context: Context) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields images (m, 3, H, W) in [0, 1] and their masks (m, H, W) uint8, in order; those of a batch are of one size.

    So no image is padded to the size of another one, which would change what is predicted for it.
    """
    for (height, width), group in itertools.groupby(indices.tolist(), lambda index: tuple(packed.sizes[index])):
        rows = max(1, min(context.evaluation_batch, PIXELS // int(height * width)))
        for batch in _batched(list(group), rows):
            pairs = [packed[index] for index in batch]
            images = torch.from_numpy(np.stack([image for image, _ in pairs])).to(context.device)
            masks = torch.from_numpy(np.stack([mask for _, mask in pairs])).to(context.device)
            yield images.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=context.memory_format), masks


def predicted_classes(model: Model, images: Tensor, params: SegmentationParameters) -> Tensor:
    """Returns the predicted class (n, H, W) of each pixel of images (n, 3, H, W) in [0, 1]."""
    if params.scales == (1.0,) and not params.flip:
        return _logits(model, images).argmax(dim=1)
    size = (images.shape[2], images.shape[3])
    total: Tensor | None = None
    for scale in params.scales:
        resized = images if scale == 1 else _scaled(images, scale)
        for turned in (False, True) if params.flip else (False,):
            logits = _logits(model, resized.flip(3) if turned else resized)
            found = F.interpolate(
                (logits.flip(3) if turned else logits).float(), size, mode="bilinear", align_corners=False
            ).softmax(dim=1)
            total = found if total is None else total + found
    assert total is not None
    return total.argmax(dim=1)


def _scaled(images: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=scale < 1, align_corners=False).clamp(0, 1)


def _logits(model: Model, images: Tensor) -> Tensor:
    """Returns logits (n, C, H, W); images that the backbone does not take are padded, and what is padded is cut off."""
    height, width = images.shape[2:]
    encoder = model.encoder
    sizes = (encoder.map_sizes or encoder.sizes) if isinstance(encoder, Backbone) else Sizes()
    down, across = (_padded(side, sizes) - side for side in (height, width))
    padded = F.pad(images, (0, across, 0, down)) if down or across else images
    logits: Tensor = model(padded)
    return logits[:, :, :height, :width]


def _padded(side: int, sizes: Sizes) -> int:
    return -(-max(side, sizes.least) // sizes.multiple) * sizes.multiple


def _batched(items: list[int], size: int) -> Iterator[list[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))
