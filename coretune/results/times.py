"""Timestamps."""

from __future__ import annotations

from datetime import UTC, datetime


def now_iso() -> str:
    """Returns the present as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
