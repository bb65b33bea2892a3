"""Stanford Cars, by model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from coretune.data.source import TEST, TRAIN, Source
from coretune.data.sources.layouts import Original, open_set
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.lists import matlab
from coretune.errors import UnfitError
from coretune.spec.frozen import Frozen

TRAIN_LIST = "devkit/cars_train_annos.mat"
TEST_LISTS = ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat")
NAMES = "devkit/cars_meta.mat"
LATER = "cars_annos.mat"


def cars(path: Path | None, params: Frozen) -> Source:
    """Opens Stanford Cars (Krause et al., ICCV Workshops 2013).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    return open_set("cars", path, [Original(TRAIN_LIST, _original), Original(LATER, _later)])


def _original(root: Path) -> Source:
    test_list = next((root / name for name in TEST_LISTS if (root / name).is_file()), None)
    if test_list is None:
        raise UnfitError(
            f"{root}: no {TEST_LISTS[0]}: the labels of the test part are in a file of their own (the devkit's "
            "cars_test_annos.mat has none)"
        )
    classes = matlab(root / NAMES, "class_names")["class_names"].tolist()
    images = []
    for folder, file, part in (("cars_train", root / TRAIN_LIST, TRAIN), ("cars_test", test_list, TEST)):
        for row in _rows(file, "fname", "class"):
            images.append(Listed(f"{folder}/{row['fname']}", _label(file, row, classes), part))
    lists = [root / TRAIN_LIST, test_list, root / NAMES]
    return ImageFiles(root, images, classes, reading="cars/1", lists=lists)


def _later(root: Path) -> Source:
    file = root / LATER
    classes = matlab(file, "class_names")["class_names"].tolist()
    images = [
        Listed(str(row["relative_im_path"]), _label(file, row, classes), TEST if row["test"] else TRAIN)
        for row in _rows(file, "relative_im_path", "class", "test")
    ]
    return ImageFiles(root, images, classes, reading="cars/1", lists=[file])


def _rows(file: Path, *fields: str) -> Any:
    rows = np.atleast_1d(matlab(file, "annotations")["annotations"])
    absent = [name for name in fields if name not in (rows.dtype.names or ())]
    if absent:
        raise UnfitError(f"{file}: its annotations have no {', '.join(absent)}")
    return rows


def _label(file: Path, row: Any, classes: list[str]) -> int:
    number = int(row["class"])
    if not 1 <= number <= len(classes):
        raise UnfitError(f"{file}: class {number}; there are {len(classes)}")
    return number - 1
