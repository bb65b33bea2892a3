"""Decode once: a data set as a memory-mapped uint8 array that all processes of a machine share.

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
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from coretune.data.blocks import BLOCK, Done, in_threads
from coretune.data.lock import exclusive
from coretune.data.partial import Partial, remove, remove_abandoned
from coretune.data.processes import in_processes
from coretune.data.resize import RESIZING
from coretune.data.roots import CACHE_VARIABLE
from coretune.data.source import Source
from coretune.data.unreadable import UNREADABLE, Unreadable
from coretune.errors import StorageError
from coretune.results.manifest import usable_cpus
from coretune.spec.augment import Sides
from coretune.spec.frozen import digest

FORMAT = "coretune pack 1"

PAYS_FROM_S = 2.0
"""Seconds of decoding by one process from which on it pays to start others, which takes each of them half a second."""

SHARE_S = 1.0
"""Seconds of decoding that a process is started for, at the least."""

_log = logging.getLogger("coretune.data")
_log.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Packed:
    """A packed data set of N square images of C classes.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, memory-mapped, read-only.
        labels: (N,) int64 in [0, C); UNREADABLE (−2) of an image that cannot be read, all of whose pixels are 0.
        parts: (N,) int8 official parts, as in `source`.
        classes: Names of the classes.
        names: Names of the images.
        fingerprint: SHA-256 of the source.
        sides: What an evaluation sees of an image; None: all of it.
        unreadable: The images that cannot be read, in order.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    parts: NDArray[np.int8]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str
    sides: Sides | None = None
    unreadable: tuple[Unreadable, ...] = ()


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


def pack(
    source: Source,
    fingerprint: str,
    image_size: int,
    cache: Path,
    on_packing: OnPacking = lambda packing: None,
    *,
    processes: int | None = None,
) -> Packed:
    """Returns the pack of a source, made on first use; one whose making was killed is gone on with.

    Images whose content cannot be read are named in it, and have no pixels and no class.

    Args:
        source: The images.
        fingerprint: SHA-256 of the source.
        image_size: Side in pixels.
        cache: Root of the caches.
        on_packing: Called in this thread while images are packed, at the beginning and after every 32 of them; also
            while another process packs. What it raises ends the packing, which the next call goes on with.
        processes: How many decode; 0 for this one alone; None measures and chooses.

    Raises:
        UnfitError: Processes that decode were killed.
        StorageError: The pack cannot be written, or an image cannot be read for a fault of the machine.
    """
    header, folder = _place(source, fingerprint, image_size, cache)
    packed = _read(folder, header)
    if packed is not None:
        return packed
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.with_suffix(".lock"), _patience(folder, len(source.names), on_packing)) as lock:
            packed = _read(folder, header)
            if packed is None:
                _write(source, image_size, header, folder, on_packing, processes, lock)
                packed = _read(folder, header)
    except OSError as error:
        raise _unwritable(folder, source, image_size, error) from error
    if packed is None:
        raise StorageError(f"{folder}: the pack was written, but cannot be read back; is the disk sound?")
    return packed


def is_packed(source: Source, fingerprint: str, image_size: int, cache: Path) -> bool:
    """Returns whether a sound pack of a source is there."""
    header, folder = _place(source, fingerprint, image_size, cache)
    return _read(folder, header) is not None


def _place(source: Source, fingerprint: str, image_size: int, cache: Path) -> tuple[dict[str, Any], Path]:
    transform = {"size": image_size, "crop": source.crop, "decoding": source.decoding, "resizing": RESIZING}
    header = {"format": FORMAT, "fingerprint": fingerprint, "transform": transform}
    return header, cache / "packs" / digest(header)


def _read(folder: Path, header: Mapping[str, Any]) -> Packed | None:
    """Returns a pack, or None if it is absent, truncated or foreign."""
    try:
        meta = json.loads((folder / "pack.json").read_bytes())
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        parts = np.load(folder / "parts.npy", allow_pickle=False)
        classes, names = tuple(meta["classes"]), tuple(meta["names"])
        size, n = header["transform"]["size"], len(names)
        shape = (n, size, size, 3)
        whole = (folder / "images.u8").stat().st_size == n * size * size * 3
        same = {key: meta[key] for key in header} == dict(header)
        typed = labels.dtype == np.int64 and parts.dtype == np.int8 and labels.shape == parts.shape == (n,)
        unreadable = tuple(Unreadable(*item) for item in meta.get("unreadable", ()))
        if unreadable and meta["decoder"] != PIL.__version__:
            return None  # another one may be able to read them
        marked = np.flatnonzero(labels < 0).tolist() == [item.image for item in unreadable]
        if not (whole and same and typed and marked and n > 0 and labels.max() < len(classes)):
            return None
        images = np.memmap(folder / "images.u8", dtype=np.uint8, mode="r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Packed(images, labels, parts, classes, names, str(header["fingerprint"]), unreadable=unreadable)


def _patience(folder: Path, images: int, on_packing: OnPacking) -> Callable[[], None]:
    """Returns what is called while another process packs."""
    said = False

    def wait() -> None:
        nonlocal said
        if not said:
            _log.info("another process packs %s: waiting for it", folder)
        said = True
        on_packing(Packing(0, images, 0.0))

    return wait


def _write(
    source: Source,
    size: int,
    header: Mapping[str, Any],
    folder: Path,
    on_packing: OnPacking,
    processes: int | None,
    lock: int,
) -> None:
    """Makes a pack beside its place and renames it there. The caller holds the lock."""
    for remains in folder.parent.glob(f".{folder.name}.*.tmp"):
        remove(remains)
    remove_abandoned(folder.parent)
    place = folder.with_name(f".{folder.name}.partial")
    partial = Partial(place, header, images=len(source.names), side=size, crop=source.crop)
    if partial.done:
        _log.info("%s: going on after %s of %s images", folder, f"{partial.images_done:,}", f"{len(source.names):,}")
    _check_space(partial)
    try:
        _fill(source, partial, on_packing, processes, lock)
        _finish(source, partial, header, folder)
    except OSError:
        remove(partial.folder)  # what fills the disk may be this
        raise


def _check_space(partial: Partial) -> None:
    """Says before the work of hours that the disk is too small.

    Raises:
        OSError: It is.
    """
    needed = len(partial.left) * BLOCK * partial.target.bytes_per_image
    if shutil.disk_usage(partial.folder).free < needed:
        if not partial.done:
            remove(partial.folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fill(source: Source, partial: Partial, on_packing: OnPacking, processes: int | None, lock: int) -> None:
    """Writes the blocks that are left."""
    done, before = partial.images_done, partial.images_done
    total, begun = partial.target.images, time.perf_counter()
    on_packing(Packing(done, total, 0.0))
    with partial.growing() as add, closing(_written(source, partial, processes, lock)) as blocks:
        for block in blocks:
            add(block)
            done += len(partial.target.members(block.block))
            seconds = time.perf_counter() - begun
            on_packing(Packing(done, total, (done - before) / max(seconds, 1e-9)))


def _written(source: Source, partial: Partial, processes: int | None, lock: int) -> Generator[Done, None, None]:
    """Yields the blocks that are left as they are written: the first two by this process, to measure what pays."""
    target, blocks = partial.target, partial.left
    if processes is None:
        # The first block loads files and decoders: the second tells how long the others will take.
        yield from in_threads(source, target, blocks[:1], 1)
        begun = time.perf_counter()
        second = list(in_threads(source, target, blocks[1:2], 1))
        seconds = (time.perf_counter() - begun) * len(blocks[2:])
        yield from second
        blocks = blocks[2:]
        processes = worthwhile(seconds, usable_cpus())
    if processes:
        yield from in_processes(source, target, blocks, min(processes, max(1, len(blocks))), held=[lock])
    else:
        yield from in_threads(source, target, blocks, 1)


def worthwhile(seconds: float, cpus: int) -> int:
    """Returns how many processes decode in the least time; 0 if this one alone does.

    Threads are no alternative: of a small image, most is Python's work, and two threads take longer than one.

    Args:
        seconds: What one process needs.
        cpus: How many processes may run at a time.
    """
    return 0 if cpus < 2 or seconds < PAYS_FROM_S else min(cpus, math.ceil(seconds / SHARE_S))


def _finish(source: Source, partial: Partial, header: Mapping[str, Any], folder: Path) -> None:
    """Writes what belongs to the images, and gives the pack its name."""
    here = partial.folder
    labels = source.labels.copy()
    unreadable = [Unreadable(image, int(labels[image]), partial.unread[image]) for image in sorted(partial.unread)]
    labels[[item.image for item in unreadable]] = UNREADABLE
    np.save(here / "labels.npy", labels)
    np.save(here / "parts.npy", source.parts)
    meta = {**header, "classes": source.classes, "names": source.names}
    if unreadable:
        meta |= {"unreadable": unreadable, "decoder": PIL.__version__}
    (here / "pack.json").write_text(json.dumps(meta), encoding="utf-8")
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


def _unwritable(folder: Path, source: Source, size: int, error: OSError) -> StorageError:
    megabytes = len(source.names) * size * size * 3 / 1e6
    return StorageError(
        f"{folder}: cannot write the packed images ({megabytes:.0f} MB): {error.strerror or error}; "
        f"free space there, or set {CACHE_VARIABLE} to another folder"
    )
