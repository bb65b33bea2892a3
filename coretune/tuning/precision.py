"""The arithmetic of the forward pass, in training and in evaluation alike."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Returns the context of a forward pass: automatic mixed precision, or nothing for `fp32`.

    Args:
        device: Where the model lives.
        precision: `fp32`, `bf16` or `fp16`.
    """
    return torch.autocast(device.type, dtype=HALF[precision]) if precision in HALF else nullcontext()


def gradient_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Returns the scaler that keeps small fp16 gradients from vanishing; without effect in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
