"""Restarts, each of which sees what the earlier ones left; and the form in which torchattacks takes images."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from coretune.robust.attack import Attempt, Subjects, column
from coretune.spec.epsilon import Norm

NORM_NAMES: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
"""What torchattacks calls norms."""


class Restarts:
    """What restarts have found so far: each sees what the earlier ones left.

    Args:
        subjects: The images.
    """

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._images = subjects.images.clone()
        self._fooled = torch.zeros_like(subjects.labels, dtype=torch.bool)

    def left(self) -> tuple[Tensor, Subjects]:
        """Returns the rows that no restart has fooled yet, and what they are."""
        rows = (~self._fooled).nonzero().squeeze(1)
        return rows, self._subjects.pick(rows)

    def put(self, rows: Tensor, attempt: Attempt) -> None:
        """Enters what a restart made of some rows."""
        self._images[rows], self._fooled[rows] = attempt

    def attempt(self) -> Attempt:
        """Returns what all of them made."""
        return Attempt(self._images, self._fooled)


def laid_out(subjects: Subjects) -> Subjects:
    """Returns the same images, contiguous: torchattacks views them as rows, which channels-last ones are not."""
    return replace(subjects, images=subjects.images.contiguous())


def whole(subjects: Subjects, found: Tensor, fooled: Tensor) -> Attempt:
    """Returns an attempt of which images that are not finite are left out: they fool nobody."""
    finite = found.isfinite().flatten(1).all(dim=1)
    return Attempt(torch.where(column(finite), found, subjects.images), fooled & finite)
