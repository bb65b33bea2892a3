"""A data set of the Hugging Face hub, by name, through the package `datasets`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING, decode_bytes
from coretune.data.source import TRAIN, UNDECIDED
from coretune.data.sources.parquet_files import WORDS
from coretune.data.sources.shard import IMAGES, LABELS
from coretune.errors import MissingError, RequestError, StorageError, UnfitError
from coretune.spec.catalog.datasets import HubParameters
from coretune.spec.wording import some

HINT = 'pip install "coretune[hub]"'


class Hub:
    """Images of a data set of the hub: a column of images and one of labels, and a split for each part.

    Args:
        path: Where `datasets` keeps its files; None leaves that to it.
        params: Its name and its columns.

    Attributes:
        remarks: Which splits are left out, one line each.

    Raises:
        RequestError: No name is given.
        MissingError: `datasets` is not installed, or the hub does not have it or does not answer.
        UnfitError: There are no such columns or splits.
    """

    def __init__(self, path: Path | None, params: HubParameters) -> None:
        if not params.name:
            raise RequestError(
                "data set hub: needs the name of a data set of the Hugging Face hub, e.g. uoft-cs/cifar10"
            )
        self.crop = params.crop
        self._name = params.name
        splits = _load(params, path)
        first = next(iter(splits.values()))
        self._image = _column(params.name, first.column_names, "image_column", params.image_column, IMAGES)
        label = _column(params.name, first.column_names, "label_column", params.label_column, LABELS)
        self.decoding = f"hub/1:{self._image!r}:{label!r}+{DECODING}"
        labels, self.remarks = _labels(params.name, splits, label)
        splits, values = {split: splits[split] for split in labels}, list(labels.values())
        self.classes, self.labels = _classes(params.name, first.features[label], [v for part in values for v in part])
        counts = [len(part) for part in values]
        parts = [WORDS[split.lower()] for split in splits]
        if not {TRAIN, UNDECIDED} & set(parts):
            raise UnfitError(f"{params.name}: no split to train on, only {some(list(splits))}")
        self.parts: NDArray[np.int8] = np.repeat(np.array(parts, dtype=np.int8), counts)
        self.names = tuple(
            f"{name}/{row:06d}" for name, count in zip(splits, counts, strict=True) for row in range(count)
        )
        self._starts = np.cumsum([0, *counts])
        raw = importlib.import_module("datasets").Image(decode=False)
        self._splits = {name: split.cast_column(self._image, raw) for name, split in splits.items()}

    def files(self) -> list[tuple[str, Path]]:
        """Returns the files that `datasets` keeps, named by split and place."""
        files = [
            (f"{name}/{place:05d}", Path(entry["filename"]))
            for name, split in self._splits.items()
            for place, entry in enumerate(split.cache_files)
        ]
        if not files:
            raise UnfitError(f"{self._name}: it lies in no file, so that it cannot be known again")
        return files

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It cannot be read.
        """
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        split = list(self._splits.values())[place]
        value = split[index - int(self._starts[place])][self._image]
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            content = _read(Path(value["path"]), self.names[index])
        if not isinstance(content, bytes):
            raise UnfitError(f"{self.names[index]}: no content of an image file in column {self._image}")
        return decode_bytes(content, self.names[index])


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{name}: {path}: {error.strerror or error}") from error


def _load(params: HubParameters, path: Path | None) -> dict[str, Any]:
    """Returns the data set's splits by name."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingError(f"data set hub: the package `datasets` is not installed: {HINT}") from error
    options = {"revision": params.revision, "cache_dir": None if path is None else str(path)}
    try:
        found = datasets.load_dataset(params.name, params.config, **options)
    except Exception as error:  # the hub's client raises errors of many packages
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingError(
            f"{params.name}: cannot be loaded from the Hugging Face hub ({type(error).__name__}: {reason}); offline it "
            "is found only where it was loaded before"
        ) from error
    splits = dict(found.items()) if hasattr(found, "items") else {"train": found}
    if not splits:
        raise UnfitError(f"{params.name}: has no split")
    return splits


def _column(name: str, columns: list[str], parameter: str, asked: str | None, usual: tuple[str, ...]) -> str:
    wanted = usual if asked is None else (asked,)
    for column in wanted:
        if column in columns:
            return column
    raise UnfitError(f"{name}: no column {' or '.join(wanted)}, only {', '.join(columns)}; name it with {parameter}")


def _classes(name: str, feature: Any, values: list[Any]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Returns the names of the classes (declared, else the values that occur, sorted) and the labels."""
    if any(value is None or value == -1 for value in values):
        raise UnfitError(f"{name}: some labels of a split are hidden or null, others are not")
    names = getattr(feature, "names", None)
    if names:
        return tuple(map(str, names)), np.array(values, dtype=np.int64)
    found = sorted(set(values))
    number = {value: index for index, value in enumerate(found)}
    return tuple(map(str, found)), np.array([number[value] for value in values], dtype=np.int64)


def _labels(name: str, splits: dict[str, Any], column: str) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """Returns the labels of the splits that are a part and have some, and why the others are left out.

    Raises:
        UnfitError: None is.
    """
    labels, remarks = {}, []
    for split, rows in splits.items():
        if split.lower() not in WORDS:
            remarks.append(f"its split {split!r} is left out: it is none of train, validation, test")
            continue
        values = rows[column]
        if all(value is None or value == -1 for value in values):
            remarks.append(f"its split {split!r} is left out: its labels are hidden")
        else:
            labels[split] = values
    if not labels:
        raise UnfitError(f"{name}: no split to train on: {'; '.join(remarks)}")
    return labels, tuple(remarks)
