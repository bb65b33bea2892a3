"""Keeps what Ray prints off the standard output, where only results belong."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

RAY_THREADS = "ray_"
"""What the names of the threads begin with in which Ray prints its cluster's complaints."""


class _Sieve:
    """A standard output that sends what Ray's threads print to a logger, and passes on all else."""

    def __init__(self, stream: TextIO, logger: logging.Logger) -> None:
        self._stream = stream
        self._logger = logger

    def write(self, text: str) -> int:
        """Writes, or logs without the empty lines."""
        if not threading.current_thread().name.startswith(RAY_THREADS):
            return self._stream.write(text)
        for line in filter(str.strip, text.splitlines()):
            self._logger.warning("%s", line)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def quiet_stdout(logger: logging.Logger) -> Iterator[None]:
    """Sends to a logger what Ray's threads print for the time of the context."""
    before = sys.stdout
    sieve: Any = _Sieve(before, logger)
    sys.stdout = sieve
    try:
        yield
    finally:
        if sys.stdout is sieve:
            sys.stdout = before
