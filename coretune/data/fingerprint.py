"""The identity of a data set: SHA-256 over the names and contents of its files, before any packing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from coretune.data.roots import cache_root
from coretune.errors import StorageError, UnfitError
from coretune.results.files import put_atomic
from coretune.spec.frozen import digest

SETTLED_NS = 2_000_000_000
"""A file younger than this may change again without a new time stamp: its hash is not kept."""

CHUNK = 1 << 18
"""Bytes that are read between two looks at whether the hash is still wanted."""

MANY_FILES, MANY_BYTES = 1_000, 10**9
"""Reading more than this takes long enough to be said: the log gets a line."""

_log = logging.getLogger("coretune.data")
_log.addHandler(logging.NullHandler())

Stamp = tuple[int, int, str]
"""Size in bytes, time of the last change in nanoseconds, SHA-256 of the content."""


class Filed(Protocol):
    """Data that lie in files."""

    def files(self) -> list[tuple[str, Path]]:
        """Returns the files, with their relative names."""


def fingerprint(source: Filed, cache: Path | None = None) -> str:
    """Returns the SHA-256 (64 hexadecimal digits) over the sorted (relative name, content hash) of a source's files.

    Content hashes are remembered by (path, size, time of change), so that the second call reads no content; those
    that are known when the call is interrupted, too. Before much is read, a line in the log `coretune.data` says so.

    Args:
        source: The data.
        cache: Where hashes are remembered; None takes `cache_root()`.

    Raises:
        UnfitError: A file cannot be read.
    """
    return fingerprint_of(file_hashes(source, cache))


def fingerprint_of(hashes: Mapping[str, str]) -> str:
    """Returns the `fingerprint` of files, of which `file_hashes` returned these."""
    total = hashlib.sha256()
    for name, content in sorted(hashes.items()):
        total.update(os.fsencode(name) + b"\0" + content.encode() + b"\n")
    return total.hexdigest()


def file_hashes(source: Filed, cache: Path | None = None) -> dict[str, str]:
    """Returns the SHA-256 of each of a source's files, by its relative name, remembered as `fingerprint` says.

    Args:
        source: The data.
        cache: As in `fingerprint`.

    Raises:
        UnfitError: A file cannot be read.
    """
    files = source.files()
    memory = _memory_path(files, cache or cache_root())
    known = _read_memory(memory)
    now = time.time_ns()
    stamps, unread = _looked_up([path for _, path in files], known)
    try:
        _read(unread, stamps)
    finally:
        fresh = {path: stamp for path, stamp in stamps.items() if now - stamp[1] > SETTLED_NS}
        if fresh != known:
            # The memory only saves time: on a read-only disk the next call hashes again.
            with contextlib.suppress(StorageError):
                put_atomic(memory, json.dumps(fresh, separators=(",", ":")).encode())
    return {name: stamps[str(path)][2] for name, path in files}


def hash_file(path: Path, stop: threading.Event | None = None) -> str:
    """Returns the SHA-256 of a file's content, 64 hexadecimal digits.

    Args:
        path: The file.
        stop: Ends the reading between two chunks once it is set.

    Raises:
        UnfitError: It cannot be read.
        CancelledError: `stop` was set.
    """
    found = hashlib.sha256()
    chunk = memoryview(bytearray(CHUNK))
    try:
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(chunk):
                if stop is not None and stop.is_set():
                    raise CancelledError
                found.update(chunk[:size])
    except OSError as error:
        raise _unreadable(path, error) from error
    return found.hexdigest()


def content_hash(path: Path) -> str:
    """Returns `hash_file` of a file, read again only if its size or time of change is another than before.

    Raises:
        UnfitError: It cannot be read.
    """
    return _hash_of(path, *_size_and_time(path))


@lru_cache(maxsize=64)  # a worker trains many runs from one file, a plan looks at each of many more than once
def _hash_of(path: Path, size: int, changed_ns: int) -> str:
    return hash_file(path)


def _looked_up(paths: list[Path], known: Mapping[str, Stamp]) -> tuple[dict[str, Stamp], dict[Path, tuple[int, int]]]:
    """Returns the stamps of the files that have not changed, and size and time of those that have to be read."""
    stamps: dict[str, Stamp] = {}
    unread: dict[Path, tuple[int, int]] = {}
    for path in paths:
        size, changed = _size_and_time(path)
        old = known.get(str(path))
        if old is not None and old[:2] == (size, changed):
            stamps[str(path)] = old
        else:
            unread[path] = (size, changed)
    return stamps, unread


def _read(unread: Mapping[Path, tuple[int, int]], stamps: dict[str, Stamp]) -> None:
    """Adds the stamps of files by hashing them with a few threads, which an interruption stops as well."""
    amount = sum(size for size, _ in unread.values())
    if len(unread) > MANY_FILES or amount > MANY_BYTES:
        folder = os.path.commonpath([path.parent for path in unread])
        _log.info(
            "reading %s files (%.1f GB) below %s, to know them by content", f"{len(unread):,}", amount / 1e9, folder
        )
    stop = threading.Event()
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        hashes = pool.map(lambda path: hash_file(path, stop), unread)
        for (path, (size, changed)), found in zip(unread.items(), hashes, strict=True):
            stamps[str(path)] = (size, changed, found)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return stat.st_size, stat.st_mtime_ns


def _memory_path(files: list[tuple[str, Path]], cache: Path) -> Path:
    folder = os.path.commonpath([path.parent for _, path in files])
    return cache / "fingerprints" / f"{digest(os.fsencode(folder).hex())}.json"


def _read_memory(path: Path) -> dict[str, Stamp]:
    try:
        raw = json.loads(path.read_bytes())
        return {str(name): (int(size), int(changed), _checked(sha)) for name, (size, changed, sha) in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # absent or corrupt: it is made again


def _checked(sha: object) -> str:
    if not isinstance(sha, str) or len(sha) != 64 or len(bytes.fromhex(sha)) != 32:
        raise ValueError(f"{sha!r} is no SHA-256")
    return sha


def _unreadable(path: Path, error: OSError) -> UnfitError:
    return UnfitError(f"{path}: cannot be read: {error.strerror or error}")
