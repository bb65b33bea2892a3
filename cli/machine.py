"""What this machine gives: cores, memory, files, folders. Each reading is a function of where it looks."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from coretune.results.control_group import CGROUPS, cpu_limit, memory_limit


def cores(root: Path = CGROUPS) -> float:
    """Returns how many cores this process may use: of the machine, its affinity, its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cpu_limit(root)
    return allowed if limit is None else min(float(allowed), limit)


def memory(root: Path = CGROUPS) -> tuple[int, int]:
    """Returns total and available memory in bytes, the control group's limit included."""
    import psutil

    here = psutil.virtual_memory()
    limit = memory_limit(root)
    if limit is None:
        return here.total, here.available
    return min(here.total, limit[0]), min(here.available, max(0, limit[0] - limit[1]))


def existing(path: Path) -> Path:
    """Returns the path, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists() and path.parent != path:
        path = path.parent
    return path


def write_problem(folder: Path) -> str | None:
    """Writes and removes a small file in a folder, or in the one that it would be made in.

    Returns:
        What went wrong, or None.
    """
    place = existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".coretune-doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    return None
