"""Classification metrics, accumulated on the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coretune.tuning.shard import Shard


class ClassificationMetrics:
    """Accumulates top-1 and mean per-class accuracy (per cent) and cross-entropy (nats) without waiting for a device.

    Args:
        classes: Number of classes C.
        device: Where logits come from.
        shard: The workers that each add a part of the samples; all of them have to compute.
    """

    def __init__(self, classes: int, device: torch.device, shard: Shard | None = None) -> None:
        self._shard = shard or Shard()
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
        seen, hits = self._shard.sum(self._seen.clone()).cpu(), self._shard.sum(self._hits.clone()).cpu()
        if not seen.sum():
            raise ValueError("metrics of no sample are not defined")
        present = seen > 0
        return {
            "top1": float(100 * hits.sum().double() / seen.sum()),
            "mean_per_class": float(100 * (hits[present].double() / seen[present]).mean()),
            "cross_entropy": self._summed_losses() / int(seen.sum()),
        }

    def _summed_losses(self) -> float:
        # Summed on the CPU, since not every device knows float64; those that are shared do.
        own = torch.cat(self._losses).cpu().double().sum() if self._losses else torch.zeros((), dtype=torch.float64)
        return float(own if self._shard.workers == 1 else self._shard.sum(own.to(self._seen.device)))
