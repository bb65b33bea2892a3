"""The Semantic Boundaries Dataset (SBD): masks for the images of PASCAL VOC that have none of their own.

What is known as train_aug are the training images of VOC 2012 and all of SBD that are not among VOC's validation
images: 10,582. It is laid out in two ways: SBD's own archive with a MATLAB file per image, or PNG files in a folder
SegmentationClassAug with a list trainaug.txt, as DeepLab's authors distributed it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coretune.data.sources.layouts import find_below
from coretune.data.sources.lists import matlab, text_lines
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
        names: Names of all that have a mask there and are listed.
    """

    folder: Path
    suffix: str
    lists: tuple[Path, ...]
    names: tuple[str, ...]


def find_boundaries(path: Path, voc: Path) -> Boundaries | None:
    """Returns the masks of SBD: in VOC's own folder or beside it as PNG files, or as SBD's archive below the path.

    Args:
        path: What was given as the place of the data set.
        voc: The folder VOC2012 in it.

    Returns:
        None where there are none.

    Raises:
        UnfitError: Several copies of SBD are there, or a list cannot be read.
    """
    lists = [voc / "ImageSets" / "Segmentation" / name for name in PNG_LISTS]
    folder = next((place / PNG_FOLDER for place in (voc, voc.parent, path) if (place / PNG_FOLDER).is_dir()), None)
    listed = next((file for file in lists if file.is_file()), None)
    if folder is not None and listed is not None:
        # Some lists name image and mask in a line, by their paths.
        names = (Path(line.split()[0]).name.removesuffix(".jpg") for _, line in text_lines(listed))
        return Boundaries(folder, ".png", (listed,), tuple(names))
    markers = (MARKER, *OWN_LISTS)
    root = find_below(path, *markers)
    if root is None and voc.parent.name == DEVKIT and path in (voc, voc.parent):
        root = find_below(voc.parent.parent, *markers)  # the path is of VOC alone, and SBD lies beside it
    if root is None:
        return None
    files = tuple(root / name for name in OWN_LISTS)
    return Boundaries(root / MARKER, ".mat", files, tuple(line for file in files for _, line in text_lines(file)))


def sbd_mask(file: Path, name: str) -> NDArray[np.uint8]:
    """Reads a mask of SBD's archive: `GTcls.Segmentation`, (H, W).

    Raises:
        UnfitError: It is not there.
    """
    try:
        values = np.asarray(matlab(file, "GTcls")["GTcls"]["Segmentation"].item())
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise UnfitError(f"{name}: {file.name}: GTcls has no Segmentation in it") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise UnfitError(f"{name}: {file.name}: GTcls.Segmentation is no image of 8 bits a pixel")
    return values
