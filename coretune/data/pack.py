"""Decode once: a data set as a memory-mapped uint8 array that all processes of a machine share.

A pack is a folder that appears whole by one rename, so a kill leaves the old state or the new; one process packs
while the others wait at a lock that the kernel frees with its owner. What cannot be used is made again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coretune.data.lock import exclusive
from coretune.data.resize import RESIZING, square
from coretune.data.roots import CACHE_VARIABLE
from coretune.data.source import Source
from coretune.errors import StorageError, UnfitError
from coretune.spec.augment import Sides
from coretune.spec.frozen import digest

FORMAT = "coretune pack 1"
BLOCK = 32
"""Images per task of the decoding threads."""


@dataclass(frozen=True)
class Packed:
    """A packed data set of N square images of C classes.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, memory-mapped, read-only.
        labels: (N,) int64 in [0, C).
        parts: (N,) int8 official parts, as in `source`.
        classes: Names of the classes.
        names: Names of the images.
        fingerprint: SHA-256 of the source.
        sides: What an evaluation sees of an image; None: all of it.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    parts: NDArray[np.int8]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str
    sides: Sides | None = None


def pack(source: Source, fingerprint: str, image_size: int, cache: Path) -> Packed:
    """Returns the pack of a source, made on first use.

    Args:
        source: The images.
        fingerprint: SHA-256 of the source.
        image_size: Side in pixels.
        cache: Root of the caches.

    Raises:
        UnfitError: Images cannot be read (all of them are listed).
        StorageError: The pack cannot be written.
    """
    header, folder = _place(source, fingerprint, image_size, cache)
    packed = _read(folder, header)
    if packed is not None:
        return packed
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.with_suffix(".lock")):
            packed = _read(folder, header)
            if packed is None:
                _write(source, image_size, header, folder)
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
        if not (whole and same and typed and n > 0 and labels.min() >= 0 and labels.max() < len(classes)):
            return None
        images = np.memmap(folder / "images.u8", dtype=np.uint8, mode="r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Packed(images, labels, parts, classes, names, str(header["fingerprint"]))


def _write(source: Source, size: int, header: Mapping[str, Any], folder: Path) -> None:
    """Makes a pack beside its place and renames it there. The caller holds the lock."""
    for remains in folder.parent.glob(f".{folder.name}.*.tmp"):
        _remove(remains)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        _write_images(source, size, temporary / "images.u8")
        np.save(temporary / "labels.npy", source.labels)
        np.save(temporary / "parts.npy", source.parts)
        meta = {**header, "classes": source.classes, "names": source.names}
        (temporary / "pack.json").write_text(json.dumps(meta), encoding="utf-8")
        for file in temporary.iterdir():
            _sync(file)
        _sync(temporary)
        if folder.exists():
            unusable = folder.rename(temporary.with_suffix(".old.tmp"))
            temporary.rename(folder)
            _remove(unusable)
        else:
            temporary.rename(folder)
        _sync(folder.parent)
    finally:
        _remove(temporary)


def _write_images(source: Source, size: int, file: Path) -> None:
    """Decodes all images with a few threads; each goes to its place in the file, so memory stays small.

    Raises:
        UnfitError: Images cannot be read.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)

    def write_block(start: int) -> list[str]:
        unreadable = []
        for index in range(start, min(start + BLOCK, len(source.names))):
            try:
                image = square(source.image(index), size, crop=source.crop)
            except UnfitError as error:
                unreadable.append(str(error))
                continue
            _write_at(descriptor, image.tobytes(), index * size * size * 3)
        return unreadable

    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        blocks = pool.map(write_block, range(0, len(source.names), BLOCK))
        unreadable = [line for block in blocks for line in block]
    finally:
        pool.shutdown(cancel_futures=True)
        os.close(descriptor)
    if unreadable:
        listed = "\n".join(f"  {line}" for line in unreadable)
        raise UnfitError(
            f"{len(unreadable)} of {len(source.names)} images cannot be read; repair or remove them:\n{listed}"
        )


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    # Not through a writable map: there a full disk is a SIGBUS, here it is an OSError.
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _remove(path: Path) -> None:
    """Removes a folder, or a file in its place, if it is there. What cannot be removed only takes space."""
    if path.is_file():
        path.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


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
