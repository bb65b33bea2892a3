"""One parquet file of images and labels: checked by its schema, read by column and row group."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coretune.data.decode import head_of, resemblance
from coretune.data.sources.parquet_files import Listed
from coretune.errors import StorageError, UnfitError

IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label")
MAGIC = b"PAR1"


class ImageColumn:
    """A column of image files in one parquet file. Building one reads the file's footer only.

    Args:
        file: The file.
        column: Name of the column; None takes the first of the usual ones that is there.
        usual: Usual names of that column.
        what: What it holds, for messages.
        parameter: With which parameter it is named, if there is one.

    Attributes:
        name: The file's name in messages and in names of images.
        path: Where it is.
        part: Official part of its images.
        image: Name of the column: binary, or a struct with binary `bytes`.
        groups: Number of rows of each row group.

    Raises:
        UnfitError: It is no parquet file, truncated, or the column is not as expected.
    """

    def __init__(
        self,
        file: Listed,
        column: str | None,
        usual: tuple[str, ...] = IMAGES,
        what: str = "images",
        parameter: str = "image_column",
    ) -> None:
        self.name, self.path, self.part = file.name, file.path, file.part
        with _reading(self.path), pq.ParquetFile(self.path) as opened:
            self._metadata = opened.metadata
            self._schema = opened.schema_arrow
        self.image = self._column(what, parameter, column, usual)
        self._image_leaf = self._checked_image(self._schema.field(self.image).type)
        self.groups = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]

    def images(self, group: int) -> Any:
        """Returns the contents of the image files of one row group: a pyarrow array of binary, perhaps with nulls.

        Raises:
            UnfitError: The file is corrupt.
        """
        with self._open() as opened:
            column = opened.read_row_group(group, columns=[self._image_leaf], use_threads=False).column(0)
            return column if self._image_leaf == self.image else pc.struct_field(column, "bytes")

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        # The footer is known: to parse it again for each row group takes long where there are many.
        with _reading(self.path), pq.ParquetFile(self.path, metadata=self._metadata) as opened:
            yield opened

    def _column(self, what: str, parameter: str, asked: str | None, usual: tuple[str, ...]) -> str:
        wanted = usual if asked is None else (asked,)
        names = self._schema.names
        for name in wanted:
            if name in names:
                return name
        raise UnfitError(
            f"{self.path}: no column {' or '.join(wanted)} of {what}; its columns are {', '.join(names)}"
            + (f"; name the right one with {parameter}" if parameter else "")
        )

    def _checked_image(self, kind: Any) -> str:
        if _is_binary(kind):
            return self.image
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type):
            return f"{self.image}.bytes"
        raise UnfitError(
            f"{self.path}: column {self.image} is {kind}; expected the contents of image files: struct<bytes: binary, "
            "path: string>, or binary"
        )


class Shard(ImageColumn):
    """One parquet file of images and labels. Building one reads its footer only.

    Args:
        file: The file.
        image: Name of the column of images; None takes the first of IMAGES that is there.
        label: Name of the column of labels; None takes the first of the usual ones that is there.
        usual: Usual names of that column.

    Attributes:
        label: Name of the column of labels.
        label_kind: "whole numbers" or "strings".
        classes: Names of the classes in its Hugging Face metadata, or None.

    Raises:
        UnfitError: It is no parquet file, truncated, or its columns are not as expected.
    """

    def __init__(self, file: Listed, image: str | None, label: str | None, usual: tuple[str, ...] = LABELS) -> None:
        super().__init__(file, image)
        self.label = self._column("labels", "label_column", label, usual)
        self.label_kind = self._checked_label(self._schema.field(self.label).type)
        self.classes = self._class_names(self._schema.metadata or {})

    def labels(self) -> NDArray[Any]:
        """Returns the labels, (rows,) int64, or strings as objects. No byte of an image is read.

        Raises:
            UnfitError: The file is corrupt, or a label is null or beyond 64 bits.
        """
        with self._open() as opened:
            column = opened.read(columns=[self.label], use_threads=False).column(0)
            if column.null_count:
                row = int(np.flatnonzero(column.is_null().to_numpy())[0])
                raise self.unfit_row(row, f"the label ({self.label}) is null; expected {self.label_kind}")
            if self.label_kind == "strings":
                return np.array(column.cast(pa.string()).to_pylist(), dtype=object)
            values = column.cast(pa.int64()).to_numpy()
        return np.array(values, dtype=np.int64)

    def unfit_row(self, row: int, problem: str) -> UnfitError:
        """Returns the error of one row, counted from 0."""
        return UnfitError(f"{self.path}: row {row}: {problem}")

    def _checked_label(self, kind: Any) -> str:
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_integer(value):
            return "whole numbers"
        if pa.types.is_string(value) or pa.types.is_large_string(value):
            return "strings"
        raise UnfitError(
            f"{self.path}: column {self.label} is {kind}; expected one label an image: integers or strings"
        )

    def _class_names(self, metadata: dict[bytes, bytes]) -> tuple[str, ...] | None:
        try:
            names = json.loads(metadata[b"huggingface"])["info"]["features"][self.label]["names"]
        except (KeyError, TypeError, ValueError):
            return None  # only files that `datasets` wrote have it, and only ClassLabel has names
        return tuple(map(str, names)) if isinstance(names, list) and names else None


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # With a number it is the machine's fault, which may pass; without, that of the file's content.
        unfit = StorageError if isinstance(error, OSError) and error.errno else UnfitError
        raise unfit(f"{path}: {_reason(path, error)}") from error


def _reason(path: Path, error: Exception) -> str:
    head = head_of(path)
    if head is not None and (looks_like := resemblance(head, "a parquet file")):
        return looks_like
    if head is not None and head.startswith(MAGIC) and not _ends_with_magic(path):
        return "a parquet file that is truncated; download it again"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be read as parquet: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


def _ends_with_magic(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(len(MAGIC), path.stat().st_size), 2)
        return file.read() == MAGIC
