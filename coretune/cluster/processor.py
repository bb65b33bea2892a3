"""What this machine's processor cannot do at speed. No torch: drivers ask, and they do not import it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
ENOUGH = frozenset({"avx512bw", "amx_bf16", "bf16"})
"""Flags with which oneDNN's half-precision kernels keep up with fp32: AVX-512 or AMX (x86), BF16 (Arm)."""


def emulates_half(cpuinfo: Path = CPUINFO) -> bool:
    """Returns whether this processor computes bf16 and fp16 an order of magnitude slower than fp32.

    Without AVX-512 or AMX torch has no half-precision kernels for it and falls back to slow reference code: a small
    residual net trained at 17 images/s in bf16 and 154 in fp32 on an AVX2 processor.

    Args:
        cpuinfo: Where Linux describes its processors. Elsewhere the answer is False, since nothing is known.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    named = (line.partition(":") for line in lines)
    flags = next((set(said.split()) for name, _, said in named if name.strip() in ("flags", "Features")), None)
    return flags is not None and not flags & ENOUGH


def slow_precision(precisions: Collection[str], cpuinfo: Path = CPUINFO) -> str | None:
    """Returns what to say of runs on this processor in these precisions, or None if there is nothing to say."""
    slow = sorted(set(precisions) & {"bf16", "fp16"})
    if not slow or not emulates_half(cpuinfo):
        return None
    return (
        f"this processor only emulates {' and '.join(slow)} (it has no AVX-512 or AMX), about ten times slower than "
        "fp32: set precision to fp32 under train, and under a backbone's pretrain.train"
    )
