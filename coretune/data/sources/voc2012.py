"""PASCAL VOC 2012 segmentation, with the masks of SBD or without."""

from __future__ import annotations

from pathlib import Path

from coretune.data.masks import MaskSource
from coretune.data.source import TEST, TRAIN
from coretune.data.sources.layouts import absent, find_below, found_in, nowhere
from coretune.data.sources.mask_parquet import MaskParquet
from coretune.data.sources.sbd import find_boundaries
from coretune.data.sources.tree import holds_parquet
from coretune.data.sources.voc import VocImages, classes_file
from coretune.data.sources.voc_lists import LISTS, listed, read_lists, repeated
from coretune.errors import MissingError
from coretune.spec.catalog.mask_sets import mask_set
from coretune.spec.frozen import Frozen

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
YEAR = "VOC2012"
TRAIN_LIST = LISTS / "train.txt"


def voc2012(path: Path | None, params: Frozen) -> MaskSource:
    """Opens VOC 2012 (Everingham et al.): its training images to train, its validation images to test.

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    about = mask_set("voc2012")
    if path is None:
        raise nowhere(about)
    root = _root(path)
    if root is None and holds_parquet(path):
        return MaskParquet(path, CLASSES, validation_is_test=True)
    if root is None:
        raise absent(about, f"{path}: {about.name} is not there: {found_in(path)}")
    lists = _own(root)
    named = read_lists(lists)
    items, remarks = listed(root, named), repeated(root, named)
    return VocImages(root, items, CLASSES, lists=list(lists), reading="voc2012/1", remarks=remarks)


def voc2012_aug(path: Path | None, params: Frozen) -> MaskSource:
    """Opens VOC 2012 with SBD (Hariharan et al., ICCV 2011): train_aug to train, VOC's validation images to test.

    Images of VOC's own training part keep its masks, which are finer.

    Args:
        path: A folder with both.
        params: Without effect: the data set has no parameters.

    Raises:
        MissingError: VOC is there, and SBD is not.
        UnfitError: VOC is not there, or one of them is not whole.
    """
    about = mask_set("voc2012_aug")
    if path is None:
        raise nowhere(about)
    root = _root(path)
    if root is None and holds_parquet(path):
        raise _without_boundaries(path)
    if root is None:
        raise absent(about, f"{path}: VOC 2012 is not there: {found_in(path)}")
    boundaries = find_boundaries(path, root)
    if boundaries is None:
        raise _without_boundaries(path)
    lists = _own(root)
    own = read_lists(lists)
    official = {each.name for each in own}
    named = [*own, *(each for each in boundaries.named if each.name not in official)]
    masks = {each.name: boundaries.folder / f"{each.name}{boundaries.suffix}" for each in named[len(own) :]}
    items = listed(root, named, masks, "; was SBD's archive unpacked to its end?")
    files, remarks = [*lists, *boundaries.lists], repeated(root, named)
    return VocImages(root, items, CLASSES, lists=files, reading="voc2012_aug/1", remarks=remarks)


def is_train_aug(path: Path) -> bool:
    """Returns whether VOC 2012 lies at a path with the masks of SBD; a file of classes tells images of your own.

    Raises:
        UnfitError: As in `find_boundaries`.
    """
    root = _root(path)
    return root is not None and classes_file(path, root) is None and find_boundaries(path, root) is not None


def _without_boundaries(path: Path) -> MissingError:
    problem = f"{path}: VOC 2012 is there, but the masks of SBD are not: {found_in(path)}"
    return MissingError(str(absent(mask_set("voc2012_aug"), problem)))


def _root(path: Path) -> Path | None:
    """Returns the folder VOC2012, which may lie beside those of other years."""
    parent = find_below(path, f"{YEAR}/{TRAIN_LIST.as_posix()}")
    return parent / YEAR if parent is not None else find_below(path, TRAIN_LIST.as_posix())


def _own(root: Path) -> dict[Path, int]:
    return {root / TRAIN_LIST: TRAIN, root / LISTS / "val.txt": TEST}
