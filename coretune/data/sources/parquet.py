"""Images in parquet files, as the Hugging Face hub keeps them: a column of image files and a column of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING, decode_bytes
from coretune.data.source import Domains
from coretune.data.sources.lists import class_names
from coretune.data.sources.parquet_files import CLASSES, LAYOUT, find
from coretune.data.sources.row_groups import RowGroups
from coretune.data.sources.shard import LABELS, Shard
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import ParquetParameters

MEANINGS = {
    "image": "column of images",
    "label": "column of labels",
    "label_kind": "kind of labels",
    "classes": "classes (Hugging Face metadata)",
}
"""What the files of one data set have in common, by attribute of `Shard`."""


class Parquet:
    """Images of parquet files: a column of image files (binary, or struct with `bytes`) and a column of labels.

    Labels are whole numbers or strings. The names of whole-number classes come from the Hugging Face metadata of the
    files, else from `classes.txt` (one a line) beside them or in the folder above them within the path, else they are
    the numbers that occur. Strings name themselves, sorted.

    Args:
        path: A folder, or a single file.
        params: Which columns, and how images become squares.
        labels: Columns of labels that go before the usual ones where `params` names none.

    Raises:
        UnfitError: No files, columns or labels as expected; the message says which file and row.
    """

    def __init__(self, path: Path | None, params: ParquetParameters, labels: Sequence[str] = ()) -> None:
        if path is None:
            raise UnfitError(f"no path is given; {LAYOUT}")
        listing = find(path)
        self.crop = params.crop
        usual = tuple(dict.fromkeys((*labels, *LABELS)))
        self._shards = [Shard(file, params.image_column, params.label_column, usual) for file in listing.files]
        first = self._shards[0]
        _check_alike(self._shards)
        # Other columns of the same files are other images and labels.
        self.decoding = f"parquet/1:{first.image!r}:{first.label!r}+{DECODING}"
        self._classes_file = listing.classes if first.classes is None and first.label_kind != "strings" else None
        found = [shard.labels() for shard in self._shards]
        if not sum(map(len, found)):
            raise UnfitError(f"{path}: {len(found)} parquet files without a row; expected one image a row")
        named = first.classes if self._classes_file is None else class_names(self._classes_file)
        if named is None or first.label_kind == "strings":
            self.classes, self.labels = _by_value(self._shards, found)
        else:
            origin = f"{first.path} (Hugging Face metadata)" if self._classes_file is None else str(self._classes_file)
            self.classes, self.labels = named, _by_name(self._shards, found, named, origin)
        if len(self.classes) < 2:
            raise UnfitError(
                f"{path}: {len(self.labels)} images of {len(self.classes)} classes; at least two are needed"
            )
        counts = [len(values) for values in found]
        self.parts: NDArray[np.int8] = np.repeat(
            np.array([shard.part for shard in self._shards], dtype=np.int8), counts
        )
        self.names = tuple(
            f"{shard.name}/{row:06d}" for shard, count in zip(self._shards, counts, strict=True) for row in range(count)
        )
        self._groups = RowGroups(self._shards)
        self.domains: Domains | None = None

    def files(self) -> list[tuple[str, Path]]:
        """Returns the parquet files, and `classes.txt` where the names of the classes come from it."""
        files = [(shard.name, shard.path) for shard in self._shards]
        return files if self._classes_file is None else [*files, (CLASSES, self._classes_file)]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB. Threads may call it at the same time.

        Raises:
            UnfitError: It is null or cannot be read.
        """
        content = self._groups.content(index)
        if content is None:
            column = self._shards[0].image
            raise UnfitError(f"{self.names[index]}: null; expected the content of an image file in column {column}")
        return decode_bytes(content, self.names[index])


def _check_alike(shards: list[Shard]) -> None:
    first = shards[0]
    for shard in shards[1:]:
        for what, meaning in MEANINGS.items():
            found, expected = getattr(shard, what), getattr(first, what)
            if found != expected:
                raise UnfitError(
                    f"{shard.path}: differs from {first.path} in its {meaning}: {_shown(found)}; "
                    f"expected {_shown(expected)}"
                )


def _shown(value: str | tuple[str, ...] | None) -> str:
    return ", ".join(value) if isinstance(value, tuple) else value or "none"


def _by_value(shards: list[Shard], labels: list[NDArray[Any]]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Makes a class of each value that occurs, in the order of the values."""
    for shard, found in zip(shards, labels, strict=True):
        _refuse(shard, found, found == "" if found.dtype == object else found < 0, "a name or a number of 0 or more")
    values, indices = np.unique(np.concatenate(labels), return_inverse=True)
    return tuple(map(str, values)), indices.astype(np.int64)


def _by_name(
    shards: list[Shard], labels: list[NDArray[Any]], classes: tuple[str, ...], origin: str
) -> NDArray[np.int64]:
    if len(set(classes)) < len(classes) or not all(classes):
        raise UnfitError(f"{origin}: expected one distinct name a class, got {_shown(classes)}")
    for shard, found in zip(shards, labels, strict=True):
        expected = f"0 to {len(classes) - 1}, for the {len(classes)} classes of {origin}"
        _refuse(shard, found, (found < 0) | (found >= len(classes)), expected)
    return np.concatenate(labels)


def _refuse(shard: Shard, labels: NDArray[Any], wrong: NDArray[np.bool_], expected: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        hidden = " (the hub marks hidden labels so: leave this file out)" if labels[row] == -1 else ""
        raise shard.unfit_row(row, f"label {labels[row]!s:.80}{hidden}; expected {expected}")
