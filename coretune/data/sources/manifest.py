"""Your own images, listed in a table: where each lies, its label, and perhaps its part and its domain."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from coretune.data.decode import head_of, resemblance
from coretune.data.source import TRAIN, UNDECIDED
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.parquet_files import WORDS
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters
from coretune.spec.wording import near, nearest, some

COLUMNS = ("path", "label", "split", "domain")
NEEDED = ("path", "label")
FEW = 3
"""Rows that a message names before it counts."""
LAYOUT = (
    "expected a table, .csv or .parquet, with the columns path (relative to the table's folder) and label, and perhaps "
    "split (train, val, test or empty) and domain"
)


class _Row(NamedTuple):
    """One row, and where it stands: `images.csv:7`."""

    where: str
    values: dict[str, str]


class _Table(NamedTuple):
    """The names of its columns, and its rows."""

    columns: list[str]
    rows: list[_Row]


class Manifest(ImageFiles):
    """Images of a table, whose classes are its labels: in the order of numbers if all are whole numbers, else of names.

    Args:
        path: The table.
        params: How images become squares.

    Attributes:
        lacking_domains: Why images have no domain, or some have none; empty if each has one.

    Raises:
        UnfitError: There is no table, a column, a value or an image is not there; the message says which line.
    """

    def __init__(self, path: Path | None, params: FolderParameters) -> None:
        if path is None or not path.is_file():
            raise UnfitError(f"{path} is no file; {LAYOUT}")
        columns, rows = _parquet_table(path) if path.suffix.lower() == ".parquet" else _csv_table(path)
        if not rows:
            raise UnfitError(f"{path}: has no row below its head; {LAYOUT}")
        names = _names(path.parent, rows)
        classes = _ordered({row.values["label"] for row in rows})
        label = {name: index for index, name in enumerate(classes)}
        domains = sorted({row.values["domain"] for row in rows}) if "domain" in columns else []
        self.lacking_domains = _lacking_domains(path, columns, rows)
        domain = {name: index for index, name in enumerate(domains)}
        images = [
            Listed(name, label[row.values["label"]], _part(row), domain.get(row.values.get("domain", ""), 0))
            for name, row in zip(names, rows, strict=True)
        ]
        if not any(image.part in (TRAIN, UNDECIDED) for image in images):
            raise UnfitError(f"{path}: no row has the split train, or none; {LAYOUT}")
        super().__init__(
            path.parent, images, classes, reading="manifest/1", lists=[path], crop=params.crop, domains=domains
        )


def is_manifest(path: Path) -> bool:
    """Returns whether a file looks like a manifest: a CSV file, or parquet with a column `path` of its own."""
    if path.suffix.lower() == ".csv":
        return path.is_file()
    try:
        return path.suffix.lower() == ".parquet" and set(NEEDED) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False


def _csv_table(path: Path) -> _Table:
    if looks_like := resemblance(head_of(path) or b"", "a table"):
        raise UnfitError(f"{path}: {looks_like}; {LAYOUT}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            _check_columns(path, columns)
            return _Table(columns, list(_csv_rows(path, reader)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnfitError(f"{path}: cannot be read as CSV: {getattr(error, 'strerror', None) or error}") from error


def _csv_rows(path: Path, reader: csv.DictReader[str]) -> Iterator[_Row]:
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if None in row or None in row.values():
            raise UnfitError(f"{where}: has {'more' if None in row else 'fewer'} values than the head has columns")
        yield _Row(where, {name: row[name].strip() for name in COLUMNS if name in row})


def _parquet_table(path: Path) -> _Table:
    try:
        columns = pq.read_schema(path).names
        _check_columns(path, columns)
        table = pq.read_table(path, columns=[name for name in COLUMNS if name in columns])
    except (OSError, pa.ArrowException) as error:
        looks_like = resemblance(head_of(path) or b"", "a parquet file")
        raise UnfitError(
            f"{path}: {looks_like or f'cannot be read as parquet: {str(error).splitlines()[0]}'}"
        ) from error
    rows = [
        _Row(f"{path}: row {number}", {name: _cell(value) for name, value in row.items()})
        for number, row in enumerate(table.to_pylist(), 1)
    ]
    return _Table(columns, rows)


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _check_columns(path: Path, names: list[str]) -> None:
    other = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
    if other is not None:
        raise UnfitError(f"{path}: its columns are separated by {other!r}; write commas; {LAYOUT}")
    for name in NEEDED:
        if name not in names:
            raise UnfitError(
                f"{path}: no column {name} (it has {', '.join(names) or 'none'}{nearest(name, names)}); {LAYOUT}"
            )


def _lacking_domains(path: Path, columns: list[str], rows: list[_Row]) -> str:
    if "domain" not in columns:
        close = near("domain", columns)
        meant = f"; did you mean {close}?" if close is not None else ""
        return f"{path} has no column domain (it has {', '.join(columns)}{meant})"
    nowhere = [row.where for row in rows if not row.values["domain"]]
    return f"column domain is empty in {some(nowhere, FEW)}" if nowhere else ""


def _names(root: Path, rows: list[_Row]) -> list[str]:
    """Returns the path of each row below the table's folder, checked: it is there, and stands in no other row."""
    first: dict[str, str] = {}
    names = []
    for row in rows:
        said = row.values["path"].replace("\\", "/")
        for name in NEEDED:
            if not row.values[name]:
                raise UnfitError(f"{row.where}: no {name}")
        if PurePosixPath(said).is_absolute():
            raise UnfitError(f"{row.where}: {said} is absolute; paths are relative to the table's folder, {root}")
        name = PurePosixPath(said).as_posix()
        if name in first:
            raise UnfitError(f"{row.where}: {name} stands in {first[name]} already")
        if not (root / name).is_file():
            raise UnfitError(f"{row.where}: there is no file {root / name}")
        first[name] = row.where
        names.append(name)
    return names


def _part(row: _Row) -> int:
    said = row.values.get("split", "").lower()
    if said and said not in WORDS:
        raise UnfitError(f"{row.where}: split {said!r} is no part; it is train, val, test or empty")
    return WORDS[said] if said else UNDECIDED


def _ordered(labels: set[str]) -> list[str]:
    """Returns labels in order; `10` comes after `9`."""
    return sorted(labels, key=lambda label: (int(label), label)) if all(map(str.isdecimal, labels)) else sorted(labels)
