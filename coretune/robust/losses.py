"""What attacks maximise, by image: larger is worse for the model.

    ce      −log softmax(z)_y
    margin  max_{i≠y} z_i − z_y                                     Carlini and Wagner, arXiv 1608.04644
    dlr     (max_{i≠y} z_i − z_y) / (z_π1 − z_π3 + 1e−12)           Croce and Hein, arXiv 2003.01690, equation 6
    towards class t
    dlr     (z_t − z_y) / (z_π1 − (z_π3 + z_π4) / 2 + 1e−12)        the same, equation 7

with logits z, the label y and π sorting logits in descending order. All but `ce` depend on the scale of logits in no
way that a step along the gradient's sign or direction could see: they do not vanish where a softmax saturates. DLR
needs four classes: with two the quotient is constant, with three its targeted form has no π4. There `margin` stands in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.spec.catalog.attacks import Loss

DLR_CLASSES = 4
"""The least number of classes that DLR is defined for."""

TINY = 1e-12

RowLoss = Callable[[Tensor, Tensor], Tensor]
"""Logits (n, C) and labels (n,) → loss (n,)."""


def row_loss(name: Loss, classes: int) -> RowLoss:
    """Returns a loss by its name; of `dlr` below four classes, the margin."""
    if name == "ce":
        return cross_entropy
    return dlr if name == "dlr" and classes >= DLR_CLASSES else margin


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross-entropy of each image, (n,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns by how much the likeliest wrong class beats the label, (n,); above 0 the model is fooled."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).amax(dim=1) - _of(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the difference-of-logits ratio of each image, (n,)."""
    ordered = logits.sort(dim=1).values
    return margin(logits, labels) / (ordered[:, -1] - ordered[:, -3] + TINY)


def dlr_towards(targets: Tensor) -> RowLoss:
    """Returns the ratio towards a class of each image.

    Args:
        targets: (n,) the classes.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        ordered = logits.sort(dim=1).values
        scale = ordered[:, -1] - 0.5 * ordered[:, -3] - 0.5 * ordered[:, -4] + TINY
        return (_of(logits, targets) - _of(logits, labels)) / scale

    return loss


def margin_towards(targets: Tensor) -> RowLoss:
    """Returns by how much a class of each image beats the label.

    Args:
        targets: (n,) the classes.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return _of(logits, targets) - _of(logits, labels)

    return loss


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
