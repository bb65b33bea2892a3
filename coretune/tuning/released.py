"""What the authors' released script does where it differs from their paper: whom it mixes, which rows it calls alike.

Source: Core-tuning.py of github.com/Vanint/Core-tuning, functions `feature_mixup` and `focal_SupConLoss`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.tuning.arguments import bad_argument
from coretune.tuning.blocked import rows_per_block

Grouping = Literal["exact", "released_code"]
GROUPINGS = ("exact", "released_code")
MAX_CLASSES = 46_340
"""So that a pair of classes and a float32 weight fit into one 64-bit integer."""


def released_partners(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (n,) hardest positives and (n,) hardest negatives as the released script chooses them, in float32.

    The positive is the argmin over all j of cos_ij · [same class, j ≠ i], zeros of the others included, ties to the
    lowest index; where that is index 0, it is i instead, even if 0 is a true positive. The negative is the argmax of
    cos_ij · [other class]. With features >= 0, after a ReLU, no cosine is below 0: the positive is then most often i
    itself or even a sample of another class, and never the true hardest one. With signed features it is that one where
    a same-class cosine is below 0.

    Cosines are compared as they come, unlike those of the paper's form: of two samples in the same direction the one
    whose dot product was rounded further is taken. Rows are worked on in blocks, so that memory is linear in n.

    Args:
        features: (n, d).
        labels: (n,) integers.
    """
    unit, size = F.normalize(features.float()), labels.shape[0]
    positive, negative = torch.empty_like(labels), torch.empty_like(labels)
    block = rows_per_block(size)
    for start in range(0, size, block):
        rows = slice(start, start + block)
        cosine, same = unit[rows] @ unit.T, labels[rows, None] == labels
        others = cosine.masked_fill(same, 0.0)
        negative[rows] = _first(others, others.amax(dim=1, keepdim=True))
        same.diagonal(start).fill_(False)
        alike = cosine.masked_fill_(same.logical_not_(), 0.0)
        positive[rows] = _first(alike, alike.amin(dim=1, keepdim=True))
    order = torch.arange(size, device=labels.device)
    return torch.where(positive == 0, order, positive), negative


def soft_label_groups(
    labels: Tensor, partners: Tensor, weights: Tensor, num_classes: int, targets: Tensor, grouping: Grouping
) -> Tensor:
    """Returns (n + m,) int64: rows with the same number have the same soft label.

    Args:
        labels: (n,) classes of the originals.
        partners: (m, 2) whom each mixture is made of.
        weights: (m, 2) with which weights.
        num_classes: C.
        targets: (n + m, C) the soft labels.
        grouping: `exact` compares (class, class, weight), the weight in float32; `released_code` the script's codes
            Σ_c target_c · 10^c in float32, which collide for few classes and overflow for many.

    Raises:
        ValueError: There are too many classes for `exact`.
    """
    if grouping == "released_code":
        # Integers that wrap around, as the script's.
        powers = torch.from_numpy((10 ** np.arange(num_classes, dtype=np.int64)).astype(np.float32))
        return _bits(targets.float() @ powers.to(targets.device, non_blocking=True))
    if num_classes > MAX_CLASSES:
        raise bad_argument("num_classes", num_classes, f"at most {MAX_CLASSES} with grouping exact")
    mixed = labels[partners]
    first, second = mixed.unbind(dim=1)
    low, high = mixed.amin(dim=1), mixed.amax(dim=1)
    weight = torch.where(first <= second, weights[:, 0], weights[:, 1]).float()
    one, other = weight == 1, weight == 0
    low, high = torch.where(other, high, low), torch.where(one, low, high)
    weight = torch.where(one | other | (low == high), 1.0, weight)
    low, high = torch.cat([labels, low]), torch.cat([labels, high])
    weight = torch.cat([torch.ones_like(labels, dtype=weight.dtype), weight])
    return ((low * num_classes + high) << 32) | _bits(weight)


def _bits(values: Tensor) -> Tensor:
    """Returns the bits of float32 values >= 0 as int64; a negative zero counts as zero."""
    return (values + 0.0).contiguous().view(torch.int32).long()


def _first(values: Tensor, wanted: Tensor) -> Tensor:
    """Returns (rows,) the lowest index of a row's value that is the wanted one, (rows, 1); −0 is 0."""
    return (values == wanted).view(torch.uint8).argmax(dim=1)
