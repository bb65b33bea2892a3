"""Ctrl-C: once finishes cleanly, twice stops now."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 130
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def interruptible(
    stop: Callable[[str], None], *, on_abort: Callable[[], None] | None = None, end: bool = True
) -> Iterator[None]:
    """Calls `stop("interrupted")` on the first SIGINT, SIGTERM or SIGHUP; a SIGINT after that ends the process at once.

    The others change nothing after that: batch systems send more than one to a process that is to end cleanly.
    Outside of the main thread, where Python delivers no signals, it does nothing.

    Args:
        stop: Asks for a clean end; gets the reason.
        on_abort: Called just before the process is ended at once. It runs in the signal handler, while threads go on:
            it must not wait, not even for a lock.
        end: Whether the second SIGINT ends the process; else it raises KeyboardInterrupt, for a process that is not
            coretune's own, e.g. a notebook's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            stop("interrupted")
        elif number == signal.SIGINT and not end:
            raise KeyboardInterrupt
        elif number == signal.SIGINT:
            try:
                if on_abort is not None:
                    on_abort()
            finally:
                os._exit(EXIT_CODE)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
