"""One process at a time, by a lock that the kernel frees when its owner dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_S = 0.1


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Holds an exclusive `flock` on a file, waiting for it; yields its descriptor.

    A process that inherits the descriptor holds the lock, too, until it closes it or dies. The file stays behind,
    empty: removing it would let two processes hold locks on two files of one name.

    Args:
        path: The file.
        waiting: Called every tenth of a second while another process has it; what it raises ends the waiting.

    Raises:
        OSError: The file cannot be opened, or the file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _locked(descriptor):
            if waiting is not None:
                waiting()
            time.sleep(POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise OSError(error.errno, "the file system offers no locks") from error
        raise
    return True
