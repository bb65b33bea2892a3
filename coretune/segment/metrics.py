"""Segmentation metrics from one confusion matrix, accumulated on the device."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from coretune.data.masks import VOID
from coretune.tuning.shard import Shard

IOU = "iou_"
"""What the names of the classes' own metrics begin with."""


class ConfusionMatrix:
    """Counts pixels by true and predicted class; void pixels count nowhere. All of it is exact (integers).

    With n_tp the pixels of class t that are predicted as p (Long, Shelhamer and Darrell, CVPR 2015, section 5):

        IoU_c = n_cc / (Σ_p n_cp + Σ_t n_tc − n_cc)        mIoU = mean of IoU_c over the classes of truth or prediction
        pixel accuracy = Σ_c n_cc / Σ_tp n_tp

    The matrix is one of all images: ratios are taken once, of the sums, not image by image.

    Args:
        classes: Number of classes C.
        device: Where predictions come from.
        shard: The workers that each add a part of the images; all of them have to compute.
    """

    def __init__(self, classes: int, device: torch.device, shard: Shard | None = None) -> None:
        self._classes = classes
        self._shard = shard or Shard()
        self._counts = torch.zeros(classes * classes, dtype=torch.int64, device=device)

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Adds pixels.

        Args:
            predicted: Classes in [0, C), integers of any shape.
            truth: Classes in [0, C), or `VOID`; integers of the same shape.
        """
        known = truth != VOID
        pairs = truth[known].long() * self._classes + predicted[known].long()
        self._counts += torch.bincount(pairs, minlength=self._classes**2)

    def counts(self) -> Tensor:
        """Returns the (C, C) matrix of all workers on the CPU: rows are true, columns predicted classes."""
        return self._shard.sum(self._counts.clone()).cpu().view(self._classes, self._classes)

    def compute(self, classes: Sequence[str]) -> dict[str, float]:
        """Returns `miou`, `pixel_accuracy` and `iou_<class>`, in per cent.

        A class that is in no truth and no prediction has no IoU, and no part in the mean.

        Args:
            classes: Names of the C classes.

        Raises:
            ValueError: No pixel of any class was added.
        """
        counts = self.counts().double()
        if not counts.sum():
            raise ValueError("metrics of no labelled pixel are not defined")
        right = counts.diagonal()
        union = counts.sum(dim=0) + counts.sum(dim=1) - right
        there = union > 0
        iou = 100 * right / union.clamp_min(1)
        found = {
            "miou": float(iou[there].mean()),
            "pixel_accuracy": float(100 * right.sum() / counts.sum()),
        }
        names = class_metrics(classes)
        return found | {name: float(iou[c]) for c, name in enumerate(names) if there[c]}


def class_metrics(classes: Sequence[str]) -> list[str]:
    """Returns the names of the classes' own metrics: `iou_traffic_light`; the number behind it where two are alike."""
    names = [IOU + (re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "_") for name in classes]
    return [f"{name}_{c}" if names.count(name) > 1 else name for c, name in enumerate(names)]
