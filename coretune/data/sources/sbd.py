"""The Semantic Boundaries Dataset (SBD): masks for the images of PASCAL VOC that have none of their own.

What is known as train_aug are the training images of VOC 2012 and all of SBD that are not among VOC's validation
images: 10,582. It is laid out in two ways: SBD's own archive with a MATLAB file per image, or PNG files in a folder
SegmentationClassAug with a list trainaug.txt, as DeepLab's authors distributed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coretune.data.source import TRAIN
from coretune.data.sources.layouts import find_below, levels
from coretune.data.sources.lists import matlab
from coretune.data.sources.voc_lists import Named, read_lists
from coretune.errors import UnfitError

PNG_FOLDER = "SegmentationClassAug"
PNG_LISTS = ("trainaug.txt", "train_aug.txt", "aug.txt")
OWN_LISTS = ("train.txt", "val.txt")
MARKER = "cls"
DEVKIT = "VOCdevkit"


class Boundaries(NamedTuple):
    """Where the masks of SBD are.

    Attributes:
        folder: Of the masks.
        suffix: Of a mask: `.mat` or `.png`.
        lists: The files that name them.
        named: What stands in them, all of it to train on.
    """

    folder: Path
    suffix: str
    lists: tuple[Path, ...]
    named: tuple[Named, ...]


def find_boundaries(path: Path, voc: Path) -> Boundaries | None:
    """Returns the masks of SBD: in VOC's own folder or beside it as PNG files, or as SBD's archive below the path.

    Args:
        path: What was given as the place of the data set.
        voc: The folder VOC2012 in it.

    Returns:
        None where there are none.

    Raises:
        UnfitError: Several copies of SBD are there, one is there in part, or a list cannot be read.
    """
    lists = [voc / "ImageSets" / "Segmentation" / name for name in PNG_LISTS]
    folder = next((place / PNG_FOLDER for place in (voc, voc.parent, path) if (place / PNG_FOLDER).is_dir()), None)
    listed = next((file for file in lists if file.is_file()), None)
    if folder is not None and listed is not None:
        # Some lists name image and mask in a line, by their paths.
        stands = read_lists({listed: TRAIN})
        names = (each._replace(name=Path(each.name.split()[0]).name.removesuffix(".jpg")) for each in stands)
        return Boundaries(folder, ".png", (listed,), tuple(names))
    markers = (MARKER, *OWN_LISTS)
    # Where the path is of VOC alone, SBD may lie beside it.
    places = [path, *([voc.parent.parent] if voc.parent.name == DEVKIT and path in (voc, voc.parent) else [])]
    root = next((root for place in places if (root := find_below(place, *markers)) is not None), None)
    if root is None:
        _refuse_parts(places, folder, lists)
        return None
    files = tuple(root / name for name in OWN_LISTS)
    return Boundaries(root / MARKER, ".mat", files, tuple(read_lists(dict.fromkeys(files, TRAIN))))


def _refuse_parts(places: Sequence[Path], folder: Path | None, lists: Sequence[Path]) -> None:
    """Refuses a copy of SBD that lacks its lists: passed over, it would be another training set.

    Raises:
        UnfitError: There is one.
    """
    if folder is not None:
        names = ", ".join(PNG_LISTS)
        raise UnfitError(
            f"{folder}: there are masks of SBD, but no list of them: {lists[0].parent} has none of {names}"
        )
    for root in (root for place in places for level in levels(place) for root in level):
        if next((root / MARKER).glob("*.mat"), None) is not None:
            absent = " and ".join(name for name in OWN_LISTS if not (root / name).is_file())
            raise UnfitError(f"{root}: masks of SBD are there, but not {absent}; was the archive unpacked to its end?")


def sbd_mask(file: Path, name: str) -> NDArray[np.uint8]:
    """Reads a mask of SBD's archive: `GTcls.Segmentation`, (H, W).

    Raises:
        UnfitError: It is not there.
    """
    try:
        values = np.asarray(matlab(file, "GTcls")["GTcls"]["Segmentation"].item())
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise UnfitError(f"{name}: GTcls has no Segmentation in it") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise UnfitError(f"{name}: GTcls.Segmentation is no image of 8 bits a pixel")
    return values
