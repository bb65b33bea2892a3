"""What the control group that this process is in allows it: cores and memory."""

from __future__ import annotations

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60


def cpu_limit(root: Path = CGROUPS) -> float | None:
    """Returns how many cores the control group allows, or None if it sets no limit."""
    quota = _words(root / "cpu.max")
    if len(quota) == 2:
        return None if quota[0] == "max" else _ratio(quota[0], quota[1])
    old = _words(root / "cpu/cpu.cfs_quota_us") + _words(root / "cpu/cpu.cfs_period_us")
    if len(old) == 2 and not old[0].startswith("-"):
        return _ratio(old[0], old[1])
    return None


def memory_limit(root: Path = CGROUPS) -> tuple[int, int] | None:
    """Returns the control group's memory limit and what is used of it, in bytes, or None if it sets no limit.

    Pages of files that can be dropped at any time are not counted as used.
    """
    names = (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    )
    for limit_name, used_name, stat_name, cached_name in names:
        limit, used = _words(root / limit_name), _words(root / used_name)
        if len(limit) == 1 and limit[0].isdigit() and int(limit[0]) < UNLIMITED:
            stat = _words(root / stat_name)
            cached = int(stat[stat.index(cached_name) + 1]) if cached_name in stat[:-1] else 0
            current = int(used[0]) if used and used[0].isdigit() else 0
            return int(limit[0]), max(0, current - cached)
    return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def _ratio(amount: str, period: str) -> float | None:
    try:
        return float(amount) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
