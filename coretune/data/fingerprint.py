"""The identity of a data set: SHA-256 over the names and contents of its files, before any packing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coretune.data.roots import cache_root
from coretune.data.source import Source
from coretune.errors import StorageError, UnfitError
from coretune.results.files import put_atomic
from coretune.spec.frozen import digest

SETTLED_NS = 2_000_000_000
"""A file younger than this may change again without a new time stamp: its hash is not kept."""

Stamp = tuple[int, int, str]
"""Size in bytes, time of the last change in nanoseconds, SHA-256 of the content."""


def fingerprint(source: Source, cache: Path | None = None) -> str:
    """Returns the SHA-256 (64 hexadecimal digits) over the sorted (relative name, content hash) of a source's files.

    Content hashes are remembered by (path, size, time of change), so that the second call reads no content.

    Args:
        source: The data.
        cache: Where hashes are remembered; None takes `cache_root()`.

    Raises:
        UnfitError: A file cannot be read.
    """
    files = source.files()
    memory = _memory_path(files, cache or cache_root())
    known = _read_memory(memory)
    stamps = _stamps([path for _, path in files], known)
    now = time.time_ns()
    fresh = {path: stamp for path, stamp in stamps.items() if now - stamp[1] > SETTLED_NS}
    if fresh != known:
        # The memory only saves time: on a read-only disk the next call hashes again.
        with contextlib.suppress(StorageError):
            put_atomic(memory, json.dumps(fresh, separators=(",", ":")).encode())
    total = hashlib.sha256()
    for name, path in sorted(files):
        total.update(os.fsencode(name) + b"\0" + stamps[str(path)][2].encode() + b"\n")
    return total.hexdigest()


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's content, 64 hexadecimal digits.

    Raises:
        UnfitError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _stamps(paths: list[Path], known: Mapping[str, Stamp]) -> dict[str, Stamp]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        pending = {}
        stamps: dict[str, Stamp] = {}
        for path in paths:
            size, changed = _size_and_time(path)
            old = known.get(str(path))
            if old is not None and old[:2] == (size, changed):
                stamps[str(path)] = old
            else:
                pending[str(path)] = (size, changed, pool.submit(hash_file, path))
        for name, (size, changed, hashed) in pending.items():
            stamps[name] = (size, changed, hashed.result())
    return stamps


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
