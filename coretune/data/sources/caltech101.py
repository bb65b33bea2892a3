"""Caltech-101."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coretune.data.draws import permutation
from coretune.data.source import TEST, TRAIN, UNDECIDED, Source
from coretune.data.sources.layouts import Original, all_undecided, open_set
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.tree import scan
from coretune.errors import UnfitError
from coretune.spec.catalog.image_sets import Caltech101Parameters
from coretune.spec.wording import some

FOLDER = "101_ObjectCategories"
BACKGROUND = "BACKGROUND_Google"
TRAINING_IMAGES = 30
"""Per class: what is usual (Fei-Fei et al. give no split)."""


def caltech101(path: Path | None, params: Caltech101Parameters) -> Source:
    """Opens Caltech-101 (Fei-Fei, Fergus and Perona, 2004).

    Args:
        path: A folder of it.
        params: Whether the background is a class.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    if path is not None and (path / BACKGROUND).is_dir():
        return _categories(path, background=params.background)

    def original(root: Path) -> Source:
        return _categories(root / FOLDER, background=params.background)

    hint = "" if params.background else f"; with {BACKGROUND} as a class: `background: true`"
    source = open_set("caltech101", path, [Original(FOLDER, original)], classes=101 + params.background, hint=hint)
    return Divided(source) if all_undecided(source) else source


class Divided:
    """A source without official parts, of which each class has 30 training images; all others are for testing.

    Which ones depends on their order only: it is the same for everyone.

    Args:
        source: The images.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.classes, self.names, self.crop = source.classes, source.names, source.crop
        self.labels = source.labels
        self.parts = _divided(source.labels)
        self.decoding = f"caltech101/1:{source.decoding}"

    def files(self) -> list[tuple[str, Path]]:
        """Returns the files behind the images."""
        return self._source.files()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It cannot be read.
        """
        return self._source.image(index)


def _categories(folder: Path, *, background: bool) -> Source:
    tree = scan(folder)
    classes = sorted(name for name in tree.folders if background or name != BACKGROUND)
    expected = 101 + background
    if len(classes) != expected:
        raise UnfitError(f"{folder}: {len(classes)} categories ({some(classes)}); expected {expected}")
    images = [
        Listed(name, label, UNDECIDED)
        for label, category in enumerate(classes)
        for name in tree.folders[category].below(category)
    ]
    return Divided(ImageFiles(folder, images, classes, reading="caltech101/1"))


def _divided(labels: NDArray[np.int64]) -> NDArray[np.int8]:
    parts = np.full(len(labels), TEST, dtype=np.int8)
    for label in range(int(labels.max()) + 1):
        images = np.flatnonzero(labels == label)
        # A piece of the set keeps an image of each class to test on.
        count = min(TRAINING_IMAGES, max(1, len(images) - 1))
        parts[images[permutation(0, "caltech101", label, len(images))[:count]]] = TRAIN
    return parts
