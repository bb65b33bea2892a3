"""Decode once: images and their masks at their own size, in one memory-mapped file that a machine's processes share.

An image and its mask lie one after the other, so that a random crop of both touches few pages of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coretune.data.blocks import Unread
from coretune.data.masks import MaskSource, Pair, read_pair
from coretune.data.packing import OnPacking, Plan, made, place_of, read_meta, write_meta
from coretune.data.partial import IMAGES
from coretune.errors import UnfitError

FORMAT = "coretune mask pack 1"
BYTES_PER_PIXEL = 4


@dataclass(frozen=True)
class PackedMasks:
    """N packed images of C classes, each with its mask.

    Attributes:
        pixels: All of them, uint8, memory-mapped, read-only.
        sizes: (N, 2) int64, height and width; zeros where the image cannot be read.
        parts: (N,) int8 official parts, as in `source`.
        classes: Names of the classes.
        names: Names of the images.
        fingerprint: SHA-256 of the source.
        folder: Where the pack lies.
        unreadable: The images that cannot be read, or whose masks do not fit them, in order; their pixels are 0.
    """

    pixels: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    parts: NDArray[np.int8]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str
    folder: Path
    unreadable: tuple[Unread, ...] = ()

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(N + 1,) at which byte each image begins, and where the last one ends."""
        return _offsets(self.sizes)

    def __getitem__(self, index: int) -> Pair:
        """Returns an image, (H, W, 3), and its mask, (H, W): views of the file."""
        height, width = map(int, self.sizes[index])
        begin, end = self.offsets[index], self.offsets[index + 1]
        middle = begin + height * width * 3
        image = self.pixels[begin:middle].reshape(height, width, 3)
        return image, self.pixels[middle:end].reshape(height, width)


@dataclass(frozen=True)
class PairFile:
    """The file of a pack: image, mask, image, mask.

    Attributes:
        path: Where it is.
        source: Images and masks.
        sizes: (N, 2) heights and widths.
    """

    path: str
    source: MaskSource
    sizes: NDArray[np.int64]

    @cached_property
    def _begin(self) -> NDArray[np.int64]:
        return _offsets(self.sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images."""
        return self.source.names

    def offset(self, index: int) -> int:
        """Returns at which byte an image begins."""
        return int(self._begin[index])

    def content(self, index: int) -> bytes:
        """Returns the bytes of an image and its mask.

        Raises:
            UnfitError: They cannot be read, or do not fit.
        """
        image, mask = read_pair(self.source, index)
        expected = tuple(map(int, self.sizes[index]))
        if image.shape[:2] != expected:
            said = f"says {expected[1]}×{expected[0]} pixels, wrongly" if any(expected) else "cannot be read"
            raise UnfitError(f"{self.names[index]}: its header {said}")
        return image.tobytes() + mask.tobytes()


def pack_masks(
    source: MaskSource,
    fingerprint: str,
    cache: Path,
    on_packing: OnPacking = lambda packing: None,
    *,
    processes: int | None = None,
) -> PackedMasks:
    """Returns the pack of images with masks, made on first use; one whose making was killed is gone on with.

    Args:
        source: Images and masks.
        fingerprint: SHA-256 of the source.
        cache: Root of the caches.
        on_packing: As in `pack`.
        processes: As in `pack`.

    Raises:
        UnfitError: Processes that decode were killed.
        StorageError: The pack cannot be written, or an image cannot be read for a fault of the machine.
    """
    header, folder = _place(source, fingerprint, cache)
    found = _read(folder, header)
    if found is not None:
        return found
    sizes = np.array([source.size(index) for index in range(len(source.names))], dtype=np.int64).reshape(-1, 2)
    plan = Plan(
        folder,
        header,
        lambda path: PairFile(path, source, sizes),
        partial(_write_beside, source, sizes, header),
    )
    size = int(_offsets(sizes)[-1])
    return made(plan, lambda: _read(folder, header), on_packing, processes, size=size)


def packed_before(source: MaskSource, fingerprint: str, cache: Path) -> PackedMasks | None:
    """Returns the pack of images with masks, or None where no sound one is there."""
    header, folder = _place(source, fingerprint, cache)
    return _read(folder, header)


def are_packed(source: MaskSource, fingerprint: str, cache: Path) -> bool:
    """Returns whether a sound pack of images with masks is there."""
    return packed_before(source, fingerprint, cache) is not None


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(sizes.prod(axis=1) * BYTES_PER_PIXEL)))


def _place(source: MaskSource, fingerprint: str, cache: Path) -> tuple[dict[str, Any], Path]:
    header = {"format": FORMAT, "fingerprint": fingerprint, "transform": {"decoding": source.decoding}}
    return header, place_of(header, cache)


def _read(folder: Path, header: Mapping[str, Any]) -> PackedMasks | None:
    """Returns a pack, or None if it is absent, truncated or foreign."""
    try:
        meta = read_meta(folder, header)
        if meta is None:
            return None
        sizes = np.load(folder / "sizes.npy", allow_pickle=False)
        parts = np.load(folder / "parts.npy", allow_pickle=False)
        classes, names = tuple(meta["classes"]), tuple(meta["names"])
        n = len(names)
        if sizes.dtype != np.int64 or sizes.shape != (n, 2) or parts.dtype != np.int8 or parts.shape != (n,):
            return None
        unreadable = tuple(Unread(*item) for item in meta.get("unreadable", ()))
        size = int(_offsets(sizes)[-1])
        if n == 0 or (folder / IMAGES).stat().st_size != size:
            return None
        nothing = np.zeros(0, dtype=np.uint8)  # none of them can be read: an empty file cannot be mapped
        pixels = np.memmap(folder / IMAGES, dtype=np.uint8, mode="r") if size else nothing
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return PackedMasks(pixels, sizes, parts, classes, names, str(header["fingerprint"]), folder, unreadable)


def _write_beside(
    source: MaskSource, sizes: NDArray[np.int64], header: Mapping[str, Any], folder: Path, unread: Mapping[int, str]
) -> None:
    """Writes sizes, parts and names."""
    np.save(folder / "sizes.npy", sizes)
    np.save(folder / "parts.npy", source.parts)
    write_meta(folder, header, source.classes, source.names, sorted(unread.items()))
