"""The archives are read as torchvision reads them, where it can read a miniature (some it knows by their hashes)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import image_sets as sets
from torchvision import datasets

from coretune.data.source import TEST, TRAIN, VALIDATION, open_source
from coretune.spec.components import Catalog

Read = Callable[[Any, int], tuple[str, str]]


def _by_files(data: Any, index: int) -> tuple[str, str]:
    return os.path.basename(data._image_files[index]), data.classes[data._labels[index]]


def _pet(data: Any, index: int) -> tuple[str, str]:
    return os.path.basename(data._images[index]), data.classes[data._labels[index]]


def _car(data: Any, index: int) -> tuple[str, str]:
    path, label = data._samples[index]
    return f"{Path(path).parent.name}/{Path(path).name}", data.classes[label]


@pytest.mark.parametrize(
    ("name", "write", "reader", "splits", "read"),
    [
        ("dtd", sets.dtd, datasets.DTD, {"train": TRAIN, "val": VALIDATION, "test": TEST}, _by_files),
        (
            "aircraft",
            sets.aircraft,
            datasets.FGVCAircraft,
            {"train": TRAIN, "val": VALIDATION, "test": TEST},
            _by_files,
        ),
        ("pets", sets.pets, datasets.OxfordIIITPet, {"trainval": TRAIN, "test": TEST}, _pet),
        ("cars", sets.cars, datasets.StanfordCars, {"train": TRAIN, "test": TEST}, _car),
    ],
)
def test_the_same_images_labels_and_parts(
    name: str,
    write: Callable[[Path], Path],
    reader: Any,
    splits: dict[str, int],
    read: Read,
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    root = write(tmp_path / "data")
    source = open_source(catalog, catalog.ref("dataset", name), str(root))
    theirs: dict[str, tuple[int, str]] = {}
    for split, part in splits.items():
        data = reader(str(root), split=split)
        for index in range(len(data)):
            image, label = read(data, index)
            theirs[image] = (part, label)
    spelled = {one: one.replace("_", " ").title() for one in source.classes} if name == "pets" else {}
    ours = {
        (image if name == "cars" else image.rpartition("/")[2]): (int(part), spelled.get(label, label))
        for image, part, label in zip(
            source.names, source.parts, (source.classes[label] for label in source.labels), strict=True
        )
    }
    assert ours == theirs


def test_the_categories_of_caltech101(catalog: Catalog, tmp_path: Path) -> None:
    root = sets.caltech101(tmp_path / "data")
    theirs = datasets.Caltech101(str(root))
    source = open_source(catalog, catalog.ref("dataset", "caltech101"), str(root))
    assert list(source.classes) == theirs.categories
    assert source.labels.tolist() == theirs.y
