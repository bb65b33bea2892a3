"""Masks brought to the resolution of a feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.data.masks import VOID


@torch.no_grad()
def majority_labels(masks: Tensor, size: tuple[int, int], classes: int, purity: float) -> Tensor:
    """Returns the class that most pixels of each position of a feature map have; void where these are too few.

    Position i of h covers the rows ⌊i·H/h⌋ to ⌈(i + 1)·H/h⌉ of the mask (torch's adaptive pooling): blocks of H/h rows
    where h divides H. The share of the majority is one of all pixels of the position, void ones among them, so that
    borders and what nobody labelled make a position impure. Equal shares go to the lowest class.

    Args:
        masks: (n, H, W) integers: classes in [0, C), or `VOID`.
        size: Height h and width w of the feature map.
        classes: C.
        purity: Least share of the majority, in [0, 1].

    Returns:
        (n, h, w) int64; `VOID` where the share is less, or where no pixel is of a class.
    """
    found = [_majority(mask, size, classes, purity) for mask in masks]
    return torch.stack(found) if found else masks.new_zeros(0, *size, dtype=torch.int64)


def _majority(mask: Tensor, size: tuple[int, int], classes: int, purity: float) -> Tensor:
    """Returns the labels (h, w) of one mask: one at a time, since a plane for each class of it is large."""
    planes = (mask == torch.arange(classes, device=mask.device).view(-1, 1, 1)).float()
    shares, labels = F.adaptive_avg_pool2d(planes, size).max(dim=0)
    # A share is a mean of zeros and ones: what rounds below the floor by its last bit is meant to reach it.
    pure = (shares >= purity - 1e-6) & (shares > 0)
    return torch.where(pure, labels, VOID)
