"""One process at a time, by a lock that the kernel frees when its owner dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds an exclusive `flock` on a file, waiting for it.

    The file stays behind, empty: removing it would let two processes hold locks on two files of one name.

    Raises:
        OSError: The file cannot be opened, or the file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise OSError(error.errno, "the file system offers no locks") from error
            raise
        yield
    finally:
        os.close(descriptor)
