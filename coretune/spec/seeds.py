"""Seeds from (seed, purpose), so that adding one consumer never reshuffles another."""

from __future__ import annotations

import hashlib

SEED_BITS = 63


def derive_seed(*parts: int | str) -> int:
    """Returns a seed in [0, 2**63) that depends on every part, and on their order and types.

    Args:
        parts: What the stream is for, e.g. `(study_seed, "final", 3)`.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - SEED_BITS)
