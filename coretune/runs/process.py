"""Torch in a process that coretune owns: a study's worker, or a command."""

from __future__ import annotations

import torch


def set_up(*, threads: int | None = None, deterministic: bool = True) -> None:
    """Sets torch's threads, and asks for deterministic algorithms.

    It is for whoever owns the process: the settings are the whole process's.

    Args:
        threads: Torch threads; None leaves them as they are.
        deterministic: Whether to ask for algorithms that give the same bits each time; what has none warns.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Nothing here reads memory before it is written, and filling all of it costs several per cent.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
