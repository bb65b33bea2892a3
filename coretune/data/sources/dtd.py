"""Describable Textures (DTD), the first of its ten splits."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import TEST, TRAIN, VALIDATION, Source
from coretune.data.sources.layouts import Original, open_set
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.lists import text_lines
from coretune.spec.frozen import Frozen

LISTS = {"train1.txt": TRAIN, "val1.txt": VALIDATION, "test1.txt": TEST}


def dtd(path: Path | None, params: Frozen) -> Source:
    """Opens DTD (Cimpoi et al., CVPR 2014).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    return open_set("dtd", path, [Original("labels/train1.txt", _original)])


def _original(root: Path) -> Source:
    lists = {root / "labels" / name: part for name, part in LISTS.items()}
    listed = [(line, part) for file, part in lists.items() for _, line in text_lines(file)]
    classes = sorted({line.partition("/")[0] for line, _ in listed})
    images = [Listed(f"images/{line}", classes.index(line.partition("/")[0]), part) for line, part in listed]
    return ImageFiles(root, images, classes, reading="dtd/1", lists=list(lists))
