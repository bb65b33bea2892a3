"""Decode once: a data set as a memory-mapped uint8 array of squares that all processes of a machine share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coretune.data.blocks import Squares
from coretune.data.packing import OnPacking, Plan, made, place_of, read_meta, write_meta
from coretune.data.partial import IMAGES
from coretune.data.resize import RESIZING
from coretune.data.source import Source
from coretune.data.unreadable import UNREADABLE, Unreadable
from coretune.spec.augment import Sides

FORMAT = "coretune pack 1"


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

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(str(getattr(self.images, "filename"))).parent  # noqa: B009 - a memory map knows its file


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
    found = _read(folder, header)
    if found is not None:
        return found
    plan = Plan(
        folder,
        header,
        lambda path: Squares(path, source, image_size, source.crop),
        partial(_write_beside, source, header),
    )
    size = len(source.names) * image_size * image_size * 3
    return made(plan, lambda: _read(folder, header), on_packing, processes, size=size)


def is_packed(source: Source, fingerprint: str, image_size: int, cache: Path) -> bool:
    """Returns whether a sound pack of a source is there."""
    header, folder = _place(source, fingerprint, image_size, cache)
    return _read(folder, header) is not None


def _place(source: Source, fingerprint: str, image_size: int, cache: Path) -> tuple[dict[str, Any], Path]:
    transform = {"size": image_size, "crop": source.crop, "decoding": source.decoding, "resizing": RESIZING}
    header = {"format": FORMAT, "fingerprint": fingerprint, "transform": transform}
    return header, place_of(header, cache)


def _read(folder: Path, header: Mapping[str, Any]) -> Packed | None:
    """Returns a pack, or None if it is absent, truncated or foreign."""
    try:
        meta = read_meta(folder, header)
        if meta is None:
            return None
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        parts = np.load(folder / "parts.npy", allow_pickle=False)
        classes, names = tuple(meta["classes"]), tuple(meta["names"])
        size, n = header["transform"]["size"], len(names)
        shape = (n, size, size, 3)
        whole = (folder / IMAGES).stat().st_size == n * size * size * 3
        typed = labels.dtype == np.int64 and parts.dtype == np.int8 and labels.shape == parts.shape == (n,)
        unreadable = tuple(Unreadable(*item) for item in meta.get("unreadable", ()))
        marked = np.flatnonzero(labels < 0).tolist() == [item.image for item in unreadable]
        if not (whole and typed and marked and n > 0 and labels.max() < len(classes)):
            return None
        images = np.memmap(folder / IMAGES, dtype=np.uint8, mode="r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Packed(images, labels, parts, classes, names, str(header["fingerprint"]), unreadable=unreadable)


def _write_beside(source: Source, header: Mapping[str, Any], folder: Path, unread: Mapping[int, str]) -> None:
    """Writes labels, parts and names."""
    labels = source.labels.copy()
    unreadable = [Unreadable(image, int(labels[image]), unread[image]) for image in sorted(unread)]
    labels[[item.image for item in unreadable]] = UNREADABLE
    np.save(folder / "labels.npy", labels)
    np.save(folder / "parts.npy", source.parts)
    write_meta(folder, header, source.classes, source.names, unreadable)
