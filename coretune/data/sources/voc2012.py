"""PASCAL VOC 2012 segmentation, with the masks of SBD or without."""

from __future__ import annotations

from pathlib import Path

from coretune.data.masks import MaskSource
from coretune.data.source import TEST, TRAIN
from coretune.data.sources.layouts import absent, find_below, found_in, nowhere
from coretune.data.sources.mask_parquet import MaskParquet
from coretune.data.sources.sbd import find_boundaries
from coretune.data.sources.tree import holds_parquet
from coretune.data.sources.voc import LISTS, Item, VocImages, classes_file, listed, read_lists
from coretune.errors import MissingError, UnfitError
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
    lists = read_lists(_own(root))
    return VocImages(root, listed(root, lists, {}), CLASSES, lists=list(lists), reading="voc2012/1")


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
    lists = read_lists(_own(root))
    official = {name: part for names in lists.values() for name, part in names.items()}
    added = {name: TRAIN for name in boundaries.names if name not in official}
    masks = {name: boundaries.folder / f"{name}{boundaries.suffix}" for name in added}
    items = listed(root, {**lists, boundaries.lists[0]: added}, masks)
    _check_there(boundaries.folder, items)
    return VocImages(root, items, CLASSES, lists=[*lists, *boundaries.lists], reading="voc2012_aug/1")


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


def _check_there(folder: Path, items: list[Item]) -> None:
    """Refuses masks that lists name and that are not in their folder, which is read once."""
    there = {file.name for file in folder.iterdir()}
    missing = [item.mask.name for item in items if item.mask.parent == folder and item.mask.name not in there]
    if missing:
        raise UnfitError(
            f"{folder}: {len(missing):,} masks that the lists name are not there ({', '.join(missing[:3])}); was the "
            "archive unpacked to its end?"
        )
