"""CIFAR's own archives: batches of 32×32 images as pickles (`…-py`) or as rows of bytes (`…-bin`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import head_of, resemblance
from coretune.data.sources.lists import text_lines
from coretune.data.sources.pickles import read_pickle
from coretune.errors import UnfitError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Archive:
    """One of CIFAR's archives.

    Attributes:
        parts: The part of each batch file.
        names: The file with the names of the classes.
        key: In a pickle: the key of the labels, and that of the names in `names`.
        columns: In a binary file: bytes of labels before each image; the last is the one that counts.
    """

    parts: Mapping[str, int]
    names: str
    key: tuple[str, str] = ("", "")
    columns: int = 0


class _Table(NamedTuple):
    labels: NDArray[np.int64]
    images: NDArray[np.uint8]


class CifarArchive:
    """The images of an archive. No batch is read before its labels or images are asked for.

    Args:
        root: The unpacked archive.
        archive: Which.

    Raises:
        UnfitError: A file is not there, or the names cannot be read.
    """

    crop = True
    decoding = "cifar/1"

    def __init__(self, root: Path, archive: Archive) -> None:
        self._root, self._archive = root, archive
        absent = [name for name in (*archive.parts, archive.names) if not (root / name).is_file()]
        if absent:
            raise UnfitError(f"{root}: {', '.join(absent)} not there; was the archive unpacked to its end?")
        self.classes = tuple(_class_names(root / archive.names, archive.key[1]))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) labels."""
        return np.concatenate([table.labels for table in self._tables.values()])

    @cached_property
    def parts(self) -> NDArray[np.int8]:
        """(N,) parts, TRAIN and TEST."""
        counts = [len(table.labels) for table in self._tables.values()]
        return np.repeat(np.array(list(self._archive.parts.values()), dtype=np.int8), counts)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """`data_batch_1/00042`: the row in the file."""
        return tuple(f"{name}/{row:05d}" for name, table in self._tables.items() for row in range(len(table.labels)))

    def files(self) -> list[tuple[str, Path]]:
        """Returns the batch files, and the one that names the classes."""
        return [(name, self._root / name) for name in (*self._archive.parts, self._archive.names)]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (32, 32, 3) RGB."""
        return np.ascontiguousarray(self._images[index].reshape(3, SIDE, SIDE).transpose(1, 2, 0))

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        return np.concatenate([table.images for table in self._tables.values()])

    @cached_property
    def _tables(self) -> dict[str, _Table]:
        """The labels and images of each batch file, images with one plane of 1,024 bytes a colour."""
        read = _binary if self._archive.columns else _pickled
        return {name: read(self._root / name, self._archive, len(self.classes)) for name in self._archive.parts}


def _class_names(file: Path, key: str) -> Sequence[str]:
    if not key:
        return [line for _, line in text_lines(file)]
    names = read_pickle(file).get(key)
    if not isinstance(names, list):
        raise UnfitError(f"{file}: has no list {key}")
    return [str(name) for name in names]


def _pickled(file: Path, archive: Archive, classes: int) -> _Table:
    found = read_pickle(file)
    labels, images = found.get(archive.key[0]), found.get("data")
    if not isinstance(labels, list) or not isinstance(images, np.ndarray):
        raise UnfitError(f"{file}: has no list {archive.key[0]} and array data")
    return _checked(file, np.array(labels, dtype=np.int64), images, classes)


def _binary(file: Path, archive: Archive, classes: int) -> _Table:
    try:
        content = np.fromfile(file, dtype=np.uint8)
    except OSError as error:
        raise UnfitError(f"{file}: cannot be read: {error.strerror or error}") from error
    width = archive.columns + PIXELS
    if not len(content) or len(content) % width:
        looks_like = resemblance(head_of(file) or b"", "a batch of CIFAR")
        raise UnfitError(
            f"{file}: {looks_like or f'{len(content):,} bytes, which is no multiple of {width}: truncated'}"
        )
    rows = content.reshape(-1, width)
    return _checked(file, rows[:, archive.columns - 1].astype(np.int64), rows[:, archive.columns :], classes)


def _checked(file: Path, labels: NDArray[np.int64], images: NDArray[np.uint8], classes: int) -> _Table:
    if images.shape != (len(labels), PIXELS):
        raise UnfitError(f"{file}: {len(labels)} labels and data of {images.shape}; expected ({len(labels)}, {PIXELS})")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise UnfitError(f"{file}: labels from {labels.min()} to {labels.max()}; there are {classes} classes")
    return _Table(labels, images)
