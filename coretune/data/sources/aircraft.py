"""FGVC-Aircraft, labelled by variant."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import TEST, TRAIN, VALIDATION, Source
from coretune.data.sources.layouts import Original, numbered, open_set
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.lists import text_lines
from coretune.errors import UnfitError
from coretune.spec.frozen import Frozen

LISTS = {
    "images_variant_train.txt": TRAIN,
    "images_variant_val.txt": VALIDATION,
    "images_variant_test.txt": TEST,
}


def aircraft(path: Path | None, params: Frozen) -> Source:
    """Opens FGVC-Aircraft (Maji et al., 2013), variants.

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    return open_set("aircraft", path, [Original("data/variants.txt", _original)], label_columns=("variant",))


def _original(root: Path) -> Source:
    data = root / "data"
    classes = [line for _, line in text_lines(data / "variants.txt")]
    label = numbered(classes)
    images = []
    for name, part in LISTS.items():
        for number, line in text_lines(data / name):
            image, _, variant = line.partition(" ")
            if variant not in label:
                raise UnfitError(f"{data / name}:{number}: no variant {variant!r} in variants.txt")
            images.append(Listed(f"images/{image}.jpg", label[variant], part))
    lists = [data / "variants.txt", *(data / name for name in LISTS)]
    return ImageFiles(data, images, classes, reading="aircraft/1", lists=lists)
