"""Classification metrics, accumulated on the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassificationMetrics:
    """Accumulates top-1 and mean per-class accuracy (per cent) and cross-entropy (nats) without waiting for a device.

    Args:
        classes: Number of classes C.
        device: Where logits come from.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self._hits = torch.zeros(classes, dtype=torch.int64, device=device)
        self._seen = torch.zeros(classes, dtype=torch.int64, device=device)
        self._losses: list[Tensor] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: (n, C) logits and (n,) int64 labels."""
        logits = logits.float()
        hit = (logits.argmax(dim=1) == labels).long()
        self._hits.index_add_(0, labels, hit)
        self._seen.index_add_(0, labels, torch.ones_like(hit))
        self._losses.append(nn.functional.cross_entropy(logits, labels, reduction="none"))

    def compute(self) -> dict[str, float]:
        """Returns `top1`, `mean_per_class` (over classes that occur) and `cross_entropy`.

        Raises:
            ValueError: Nothing was added.
        """
        seen = self._seen.cpu()
        if not seen.sum():
            raise ValueError("metrics of no sample are not defined")
        present = seen > 0
        hits = self._hits.cpu()
        return {
            "top1": float(100 * hits.sum().double() / seen.sum()),
            "mean_per_class": float(100 * (hits[present].double() / seen[present]).mean()),
            "cross_entropy": float(torch.cat(self._losses).cpu().double().mean()),
        }
