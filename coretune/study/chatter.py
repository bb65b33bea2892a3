"""Sends what Ray, Optuna and Python's warnings have to say to a log file instead of the screen."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Tune looks for the files of its own loggers, which are off, once per run.
POINTLESS = ("Could not fetch metrics", "Failed to fetch metrics")


class _LogFile(logging.FileHandler):
    """A log file whose own failure is silent: a full disk must not raise in Ray, nor fill the screen with tracebacks.

    The driver writes to the same disk every two seconds, and says what is wrong with it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line, if the file can be opened."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Reports what is wrong with a line, but not with the file."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Closes the file; what the disk did not take is lost."""
        with contextlib.suppress(OSError):
            super().close()


@contextmanager
def chatter_to(path: Path, *libraries: str) -> Iterator[None]:
    """Sends the loggers of some libraries, and warnings, to a file for the time of the context. May be nested.

    Args:
        path: The file. Where it cannot be written, the chatter is lost.
        libraries: Names of top-level loggers. A library that gives its loggers handlers when it is imported (Ray does)
            is to be imported before.
    """
    handler = _LogFile(path, delay=True, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda record: not record.getMessage().startswith(POINTLESS))
    roots = {*libraries, "py.warnings"}
    below = {name for name in logging.root.manager.loggerDict if name.partition(".")[0] in roots}
    loggers = [logging.getLogger(name) for name in roots | below]
    before = [(logger, list(logger.handlers), logger.propagate) for logger in loggers]
    shown = warnings.showwarning
    logging.captureWarnings(True)
    nested = warnings.showwarning is shown
    try:
        for logger in loggers:
            logger.handlers[:] = [handler] if logger.name in roots else []
            logger.propagate = logger.name not in roots
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers[:] = handlers
            logger.propagate = propagate
        if not nested:
            logging.captureWarnings(False)
        handler.close()
