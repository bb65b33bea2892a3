"""Cross-entropies with class weights: of masks, and of the soft labels of mixed pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.data.masks import VOID
from coretune.tuning.arguments import full_precision


def mask_cross_entropy(logits: Tensor, masks: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that are of a class, Σ_i w_(t_i) CE_i / Σ_i w_(t_i), in nats.

    Computed in float32 (float64 for float64 logits), also under autocast.

    Args:
        logits: (n, C, H, W).
        masks: (n, H, W) int64: classes, or `VOID`.
        weights: (C,) weights of classes; None for all 1.

    Returns:
        Scalar, attached to the logits' graph; 0 where no pixel is of a class.
    """
    with full_precision(logits.device):
        logits = logits if logits.dtype == torch.float64 else logits.float()
        weights = logits.new_ones(logits.shape[1]) if weights is None else weights.to(logits)
        total = F.cross_entropy(logits, masks, weight=weights, ignore_index=VOID, reduction="sum")
        known = masks[masks != VOID] if masks.device.type == "cpu" else masks
        mass = F.pad(weights, (0, VOID + 1 - len(weights)))[known].sum()
        return total / mass.clamp_min(torch.finfo(logits.dtype).tiny)


def soft_pixel_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy with soft labels, −Σ_i Σ_c w_c t_ic log p_ic / Σ_i Σ_c w_c t_ic, in nats.

    For one-hot labels it is that of `mask_cross_entropy`.

    Args:
        logits: (N, C).
        targets: (N, C), rows of probabilities.
        weights: (C,) weights of classes; None for all 1.

    Returns:
        Scalar, attached to the logits' graph; 0 for N = 0.
    """
    with full_precision(logits.device):
        logits = logits if logits.dtype == torch.float64 else logits.float()
        shares = targets.to(logits) if weights is None else targets.to(logits) * weights.to(logits)
        total = -(shares * F.log_softmax(logits, dim=1)).sum()
        return total / shares.sum().clamp_min(torch.finfo(logits.dtype).tiny)
