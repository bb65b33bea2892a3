"""Optuna's journal in memory, and its snapshot for optuna-dashboard.

The truth of a search is `cells/*/search.json` and the records; the journal is a view of it. Kept in memory it costs
no disk sync per proposal and cannot be torn by a crash.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterable
from typing import Any

from optuna.storages.journal import BaseJournalBackend

BLOCK = 256
"""Lines that are compressed together."""


class MemoryJournal(BaseJournalBackend):
    """A journal backend that keeps its lines in memory, the older ones compressed.

    Optuna reads what was added since it last did, and has the rest as objects of its own: ten lines a trial are for
    `dump` alone.
    """

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._lines: list[bytes] = []
        self._lock = threading.Lock()

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Returns the lines from a number on."""
        with self._lock:
            compressed = BLOCK * len(self._blocks)
            if log_number_from >= compressed:
                return [json.loads(line) for line in self._lines[log_number_from - compressed :]]
            return [json.loads(line) for line in self._dump().splitlines()[log_number_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds lines."""
        with self._lock:
            self._lines.extend(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in logs)
            while len(self._lines) >= 2 * BLOCK:
                self._blocks.append(zlib.compress(b"".join(self._lines[:BLOCK]), level=1))
                del self._lines[:BLOCK]

    def dump(self) -> bytes:
        """Returns the journal as a file that `JournalFileBackend` opens."""
        with self._lock:
            return self._dump()

    def _dump(self) -> bytes:
        return b"".join([*map(zlib.decompress, self._blocks), *self._lines])


def is_journal(content: bytes) -> bool:
    """Returns whether a file's content is whole: a JSON mapping on each line, the last line ended."""
    try:
        lines = [json.loads(line) for line in content.splitlines()]
    except ValueError:
        return False
    return all(isinstance(line, dict) for line in lines) and content[-1:] in (b"\n", b"")
