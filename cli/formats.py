"""How times and numbers are written and read: `1h30m`, `12:01:10`, `76.2`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from coretune.errors import RequestError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?){unit})?" for unit in _UNITS))
LONGEST_S = 366 * 86400.0


def parse_duration(text: str) -> float:
    """Returns the seconds of a duration: `90s`, `30m`, `2h`, `1h30m`, `1.5h`, `1d`.

    Raises:
        RequestError: It is no duration, it is zero, or longer than a year.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    parts = {unit: amount for unit, amount in match.groupdict().items() if amount} if match else {}
    if not parts:
        hint = f"; {text.strip()}s or {text.strip()}m, perhaps?" if text.strip().isdigit() else ""
        raise RequestError(f"{text!r} is no duration: write 90s, 30m, 2h or 1h30m{hint}")
    seconds = sum(float(amount) * _UNITS[unit] for unit, amount in parts.items())
    if not 0 < seconds <= LONGEST_S:
        raise RequestError(f"{text!r} is out of range: a duration is longer than nothing and at most 366d")
    return seconds


def duration(seconds: float | None) -> str:
    """Writes a duration with its two largest units, as `parse_duration` reads it: `42s`, `3m07s`, `2h13m`, `1d02h`."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    total = max(0, round(seconds))
    minutes, second = divmod(total, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02d}h"
    if hours:
        return f"{hours}h{minute:02d}m"
    return f"{minutes}m{second:02d}s" if minutes else f"{second}s"


def parse_time(iso: str) -> datetime | None:
    """Returns the moment of an ISO 8601 text (UTC where it does not say), or None if it is none."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def clock(iso: str) -> str:
    """Writes the local time of day of an ISO 8601 text."""
    moment = parse_time(iso)
    return moment.astimezone().strftime("%H:%M:%S") if moment is not None else "--:--:--"


def moment_text(iso: str) -> str:
    """Writes the local date and time of an ISO 8601 text."""
    moment = parse_time(iso)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else "–"


def seconds_between(start: str, end: str) -> float | None:
    """Returns the seconds from one ISO 8601 text to another, or None if one of them is none."""
    first, last = parse_time(start), parse_time(end)
    return (last - first).total_seconds() if first is not None and last is not None else None


def score(value: float | None, metric: str = "top1") -> str:
    """Writes a metric: per cent with one decimal, anything else (nats) with three."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if metric == "cross_entropy" else f"{value:.1f}"


def count(number: int) -> str:
    """Writes a number of things; nothing is written as a dot, so that a column of zeros stays calm."""
    return f"{number:,}" if number else "·"


def rate(value: float | None) -> str:
    """Writes a rate with at most three significant digits below a thousand."""
    if value is None or not math.isfinite(value):
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}"


def plural(number: int, noun: str) -> str:
    """Writes `1 run`, `2 runs`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(number: float) -> str:
    """Writes a number of bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


def params_text(params: Mapping[str, Any]) -> str:
    """Writes a configuration in one line."""
    return ", ".join(
        f"{path} {item:.4g}" if isinstance(item, float) else f"{path} {item}" for path, item in params.items()
    )
