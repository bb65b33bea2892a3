"""VLCS: VOC2007, LabelMe, Caltech101, SUN09."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import Source
from coretune.data.sources.domains import Classes, open_domains
from coretune.data.sources.tree import Tree
from coretune.spec.frozen import Frozen

OTHER_NAMES = {
    "Caltech101": ("CALTECH", "caltech"),
    "LabelMe": ("LABELME", "labelme"),
    "SUN09": ("SUN", "sun"),
    "VOC2007": ("PASCAL", "pascal"),
}
NUMBERS = {"0": "bird", "1": "car", "2": "chair", "3": "dog", "4": "person"}
WHOLE = "full"
PIECES = ("crossval", "test", "train")


def vlcs(path: Path | None, params: Frozen) -> Source:
    """Opens VLCS (Fang, Xu and Rockmore, ICCV 2013).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    return open_domains("vlcs", path, other_names=OTHER_NAMES, class_names=NUMBERS, classes_of=_classes_of)


def _classes_of(domain: Tree) -> list[tuple[str, Classes]]:
    """Returns the class folders of a domain: of all its images at once, or of each of its pieces."""
    if WHOLE in domain.folders:
        return [(f"{WHOLE}/", domain.folders[WHOLE].folders)]
    pieces = [piece for piece in PIECES if piece in domain.folders]
    return [(f"{piece}/", domain.folders[piece].folders) for piece in pieces] or [("", domain.folders)]
