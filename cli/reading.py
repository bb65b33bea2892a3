"""Says that files are being read, where that takes long: what the room `data` logs, as notes on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from coretune_cli.output import note


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Prints a line of the log as a note."""
        try:
            note(record.getMessage(), style="dim")
        except Exception:
            self.handleError(record)


@contextmanager
def data_notes() -> Iterator[None]:
    """Shows on stderr, while the block runs, what `coretune.data` has to say to the person who waits."""
    log, handler = logging.getLogger("coretune.data"), _Notes(logging.INFO)
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
