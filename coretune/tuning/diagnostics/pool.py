"""A fixed, class-balanced pool of images, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coretune.data.draws import permutation
from coretune.data.pack import Packed
from coretune.nets.model import Model
from coretune.tuning.arguments import bad_argument
from coretune.tuning.context import Context
from coretune.tuning.heads import ProjectionHead
from coretune.tuning.method import Method
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.sampling import plain_images, to_device

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class PoolFeatures:
    """What a model makes of the images of a pool, on the model's device.

    Attributes:
        labels: (n,) int64.
        backbone: (n, d) features.
        projector: (n, p) unit vectors of the projection head, or None without one.
        logits: (n, C) of the classifier, or None without one.
    """

    labels: Tensor
    backbone: Tensor
    projector: Tensor | None
    logits: Tensor | None


def balanced_pools(labels: Indices, parts: Sequence[Indices], *, per_class: int, seed: int) -> list[Indices]:
    """Draws a pool of each part: the same classes in all of them, and m images of each class.

    The classes are those with two images or more in every part, m = min(per_class, the smallest of these classes in
    any part). The draw depends on (seed, class) and on the part alone, so that it is the same for every model, and a
    larger pool holds the smaller ones.

    Args:
        labels: (N,) classes of all images.
        parts: Indices of each part's images.
        per_class: Most images per class, >= 2.
        seed: Of the draw.

    Returns:
        For each part sorted indices, (m · classes,); empty if no class has two images in every part.

    Raises:
        ValueError: `per_class` is below 2, or there are no parts.
    """
    if per_class < 2:
        raise bad_argument("per_class", per_class, "an integer >= 2: one sample has no scatter")
    if not parts:
        raise bad_argument("parts", "none", "at least one")
    width = int(labels.max()) + 1
    counts = np.stack([np.bincount(labels[part], minlength=width) for part in parts]).min(axis=0)
    classes = np.flatnonzero(counts >= 2)
    size = min(per_class, *counts[classes].tolist()) if len(classes) else 0
    return [_drawn(labels, np.sort(part), classes, size, seed) for part in parts]


def pool_features(
    model: Model, head: nn.Module | None, packed: Packed, indices: Indices, context: Context
) -> PoolFeatures:
    """Returns the features of some images without augmentation, in evaluation mode and without a gradient.

    Args:
        model: On the context's device; its mode is put back.
        head: The projection head, or the method that has one as a sub-module (the first is taken); None for none.
        packed: The images.
        indices: (n,) which of them, at least one.
        context: Device and batch size.

    Raises:
        ValueError: There are no indices.
    """
    if not len(indices):
        raise bad_argument("indices", "none", "at least one image")
    projector = projector_of(head) if isinstance(head, Method) else head
    backbone, projected, logits = [], [], []
    with evaluation_mode(model, *([] if projector is None else [projector])), torch.no_grad():
        for images in plain_images(packed, indices, context):
            features = model.features(images)
            backbone.append(features)
            if projector is not None:
                projected.append(projector(features))
            if model.classifier is not None:
                logits.append(model.classifier(features))
    return PoolFeatures(
        labels=to_device(torch.from_numpy(packed.labels[indices]), context.device),
        backbone=torch.cat(backbone),
        projector=torch.cat(projected) if projected else None,
        logits=torch.cat(logits) if logits else None,
    )


def projector_of(method: Method) -> ProjectionHead | None:
    """Returns the first projection head among a method's modules, or None."""
    return next((module for module in method.modules() if isinstance(module, ProjectionHead)), None)


def _drawn(labels: Indices, part: Indices, classes: Indices, size: int, seed: int) -> Indices:
    drawn = [np.empty(0, np.int64)]
    for number in classes:
        members = part[labels[part] == number]
        drawn.append(members[permutation(seed, "diagnostics pool", int(number), len(members))[:size]])
    return np.sort(np.concatenate(drawn))
