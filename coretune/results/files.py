"""Files that are whole or absent: written under a temporary name, synced, renamed."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import secrets
import time
from pathlib import Path
from typing import Literal

from coretune.errors import StorageError

CORRUPT = ".corrupt-"


StandIn = Literal["empty", "pointer", "page"]


def put_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees the old content or the new, never a part.

    Args:
        path: The file.
        content: Its new content.
        durable: Whether it also outlives a loss of power. False costs no disk sync, for what can be made again.

    Raises:
        StorageError: The disk is full, the folder is read-only, or the path is no file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(explain(error, path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Appends one line to a log-like file (no sync: the record, not the log, is the truth).

    Raises:
        StorageError: The disk is full or the folder is read-only.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise StorageError(explain(error, path)) from error


def set_aside(path: Path, mark: str = CORRUPT) -> Path:
    """Renames a file or folder, unreadable by default, to `<name><mark><time>`, and returns the new path.

    Raises:
        StorageError: It cannot be renamed.
    """
    target = path.with_name(f"{path.name}{mark}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}")
    try:
        path.rename(target)
    except OSError as error:
        raise StorageError(explain(error, path)) from error
    return target


def stand_in(head: bytes) -> StandIn | None:
    """Returns what lies in place of a file that was to be downloaded: nothing, a Git LFS pointer, or an HTML page.

    Args:
        head: The file's first bytes; all of it if it is shorter than 256.
    """
    if not head:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return "pointer"
    if head.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "page"
    return None


def explain(error: OSError, path: Path) -> str:
    """Returns one line that says what went wrong with a path and what would help."""
    remedies = {
        errno.ENOSPC: "the disk is full: free space, or choose another place (--out, --output)",
        errno.EDQUOT: "the disk quota is used up: free space, or choose another place (--out, --output)",
        errno.EROFS: "the file system is read-only: choose another place (--out, --output)",
        errno.EACCES: "no permission: choose another place (--out, --output)",
        errno.EPERM: "no permission: choose another place (--out, --output)",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
    }
    return f"{path}: {remedies.get(error.errno or 0, error.strerror or str(error))}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)
