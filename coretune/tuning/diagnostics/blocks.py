"""Pairwise quantities, some rows at a time, so that memory stays linear in the samples."""

from __future__ import annotations

from collections.abc import Iterator

ENTRIES = 1 << 22
"""Entries of a block: 32 MiB in float64."""


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yields consecutive slices of rows, such that each has at most `ENTRIES` entries, or one row."""
    size = max(1, ENTRIES // max(1, columns))
    yield from (slice(start, min(start + size, rows)) for start in range(0, rows, size))
