"""How a pack is made: by one process, while the others wait, and gone on with after a kill.

A pack is a folder that appears whole by one rename, so a kill leaves an unfinished one that the next call goes on with;
one process packs while the others wait at a lock that the kernel frees with its owner. What cannot be used is made
again.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import PIL

from coretune.data.blocks import Done, Target, in_threads, members
from coretune.data.lock import exclusive
from coretune.data.partial import Partial, remove, remove_abandoned
from coretune.data.processes import in_processes
from coretune.data.roots import CACHE_VARIABLE
from coretune.errors import StorageError
from coretune.results.manifest import usable_cpus
from coretune.spec.frozen import digest

META = "pack.json"

PAYS_FROM_S = 2.0
"""Seconds of decoding by one process from which on it pays to start others, which takes each of them half a second."""

SHARE_S = 1.0
"""Seconds of decoding that a process is started for, at the least."""

_log = logging.getLogger("coretune.data")
_log.addHandler(logging.NullHandler())

Pack = TypeVar("Pack")


class Packing(NamedTuple):
    """How far a packing is.

    Attributes:
        done: Images that are packed, those of an earlier try included.
        total: Images of the data set.
        images_per_s: Of this try; 0 before its first image.
    """

    done: int
    total: int
    images_per_s: float


OnPacking = Callable[[Packing], None]


@dataclass(frozen=True)
class Plan:
    """What a pack is made of.

    Attributes:
        folder: Its place.
        header: What tells this pack from all others.
        target: Makes the file of images, of its path.
        finish: Writes what belongs beside the images into a folder, given why images cannot be read, by index.
    """

    folder: Path
    header: Mapping[str, Any]
    target: Callable[[str], Target]
    finish: Callable[[Path, Mapping[int, str]], None]


def place_of(header: Mapping[str, Any], cache: Path) -> Path:
    """Returns where the pack of a header lies."""
    return cache / "packs" / digest(header)


def write_meta(
    folder: Path, header: Mapping[str, Any], classes: Sequence[str], names: Sequence[str], unreadable: Sequence[Any]
) -> None:
    """Writes `pack.json`: the header, the names of classes and images, and which images this decoder cannot read."""
    meta = {**header, "classes": classes, "names": names}
    if unreadable:
        meta |= {"unreadable": unreadable, "decoder": PIL.__version__}
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")


def read_meta(folder: Path, header: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns `pack.json`, or None if it is foreign, or another decoder may be able to read more of the images.

    Raises:
        OSError: It is absent.
        ValueError: It is no JSON.
        KeyError: It lacks something.
    """
    meta: dict[str, Any] = json.loads((folder / META).read_bytes())
    if {key: meta[key] for key in header} != dict(header):
        return None
    return None if meta.get("unreadable") and meta["decoder"] != PIL.__version__ else meta


def made(
    plan: Plan, read: Callable[[], Pack | None], on_packing: OnPacking, processes: int | None, *, size: int
) -> Pack:
    """Makes a pack that is not there, or returns the one that another process makes meanwhile.

    Args:
        plan: What it is made of.
        read: Returns it, or None if it is absent, truncated or foreign.
        on_packing: As in `pack`.
        processes: As in `pack`.
        size: Its size in bytes, for a message.

    Raises:
        UnfitError: Processes that decode were killed.
        StorageError: It cannot be written, or an image cannot be read for a fault of the machine.
    """
    found, folder = None, plan.folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.with_suffix(".lock"), _patience(plan, on_packing)) as lock:
            found = read()
            if found is None:
                _write(plan, on_packing, processes, lock)
                found = read()
    except OSError as error:
        free = "free space there, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StorageError(
            f"{folder}: cannot write the packed images ({size / 1e6:.0f} MB): {error.strerror or error}; "
            f"{free}set {CACHE_VARIABLE} to another folder"
        ) from error
    if found is None:
        raise StorageError(f"{folder}: the pack was written, but cannot be read back; is the disk sound?")
    return found


def _patience(plan: Plan, on_packing: OnPacking) -> Callable[[], None]:
    """Returns what is called while another process packs."""
    said = False
    images = len(plan.target("").names)

    def wait() -> None:
        nonlocal said
        if not said:
            _log.info("another process packs %s: waiting for it", plan.folder)
        said = True
        on_packing(Packing(0, images, 0.0))

    return wait


def _write(plan: Plan, on_packing: OnPacking, processes: int | None, lock: int) -> None:
    """Makes a pack beside its place and renames it there. The caller holds the lock."""
    folder = plan.folder
    for remains in folder.parent.glob(f".{folder.name}.*.tmp"):
        remove(remains)
    remove_abandoned(folder.parent)
    partial = Partial(folder.with_name(f".{folder.name}.partial"), plan.header, plan.target)
    if partial.done:
        _log.info("%s: going on after %s of %s images", folder, f"{partial.images_done:,}", f"{partial.images:,}")
    _check_space(partial)
    try:
        _fill(partial, on_packing, processes, lock)
        _finish(plan, partial)
    except OSError:
        remove(partial.folder)  # what fills the disk may be this
        raise


def _check_space(partial: Partial) -> None:
    """Says before the work of hours that the disk is too small.

    Raises:
        OSError: It is.
    """
    if shutil.disk_usage(partial.folder).free < partial.bytes_left:
        if not partial.done:
            remove(partial.folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fill(partial: Partial, on_packing: OnPacking, processes: int | None, lock: int) -> None:
    """Writes the blocks that are left."""
    done, before = partial.images_done, partial.images_done
    total, begun = partial.images, time.perf_counter()
    on_packing(Packing(done, total, 0.0))
    with partial.growing() as add, closing(_written(partial, processes, lock)) as blocks:
        for block in blocks:
            add(block)
            done += len(members(partial.target, block.block))
            seconds = time.perf_counter() - begun
            on_packing(Packing(done, total, (done - before) / max(seconds, 1e-9)))


def _written(partial: Partial, processes: int | None, lock: int) -> Generator[Done, None, None]:
    """Yields the blocks that are left as they are written: the first two by this process, to measure what pays."""
    target, blocks = partial.target, partial.left
    if processes is None:
        # The first block loads files and decoders: the second tells how long the others will take.
        yield from in_threads(target, blocks[:1], 1)
        begun = time.perf_counter()
        second = list(in_threads(target, blocks[1:2], 1))
        seconds = (time.perf_counter() - begun) * len(blocks[2:])
        yield from second
        blocks = blocks[2:]
        processes = worthwhile(seconds, usable_cpus())
    if processes:
        yield from in_processes(target, blocks, min(processes, max(1, len(blocks))), held=[lock])
    else:
        yield from in_threads(target, blocks, 1)


def worthwhile(seconds: float, cpus: int) -> int:
    """Returns how many processes decode in the least time; 0 if this one alone does.

    Threads are no alternative: of a small image, most is Python's work, and two threads take longer than one.

    Args:
        seconds: What one process needs.
        cpus: How many processes may run at a time.
    """
    return 0 if cpus < 2 or seconds < PAYS_FROM_S else min(cpus, math.ceil(seconds / SHARE_S))


def _finish(plan: Plan, partial: Partial) -> None:
    """Writes what belongs to the images, and gives the pack its name."""
    here, folder = partial.folder, plan.folder
    plan.finish(here, partial.unread)
    for file in here.iterdir():
        _sync(file)
    _sync(here)
    if folder.exists():
        unusable = folder.rename(folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old.tmp"))
        partial.move(folder)
        remove(unusable)
    else:
        partial.move(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
