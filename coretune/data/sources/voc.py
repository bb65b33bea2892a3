"""Images and masks in the layout of PASCAL VOC: VOC 2012 itself, and data of your own that lie so.

<root>/JPEGImages/<name>.jpg
<root>/SegmentationClass/<name>.png
<root>/ImageSets/Segmentation/<train|val|test>.txt     names, one a line
<root>/classes.txt                                     of your own: names of the classes, one a line
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING, decode, image_size
from coretune.data.masks import MASKING, VOID, decode_mask
from coretune.data.source import TEST, TRAIN, VALIDATION
from coretune.data.sources.layouts import find_below, found_in
from coretune.data.sources.lists import class_names
from coretune.data.sources.parquet_files import CLASSES
from coretune.data.sources.sbd import sbd_mask
from coretune.data.sources.tree import VOC_IMAGES, VOC_MASKS
from coretune.data.sources.voc_lists import LAYOUT, LISTS, Item, listed, named_below, read_lists, repeated
from coretune.errors import UnfitError
from coretune.spec.catalog.mask_sets import VocParameters
from coretune.spec.wording import some

PARTS = {"train": TRAIN, "val": VALIDATION, "test": TEST}


class VocImages:
    """Images with masks, each in a file of its own.

    Args:
        root: What names of files are relative to.
        items: The images, sorted by name.
        classes: Names of the classes.
        lists: Further files that parts or classes come from.
        reading: Name and version of how lists become parts.
        remarks: What there is to say of the lists, one line each.
    """

    def __init__(
        self,
        root: Path,
        items: Sequence[Item],
        classes: Sequence[str],
        *,
        lists: Sequence[Path],
        reading: str,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self._items, self._lists = tuple(items), tuple(lists)
        self.root, self.remarks = root, remarks
        self.absent = tuple(index for index, item in enumerate(items) if item.no_image or item.no_mask)
        self.classes = tuple(classes)
        self.names = tuple(item.name for item in items)
        self.parts: NDArray[np.int8] = np.array([item.part for item in items], dtype=np.int8)
        self.decoding = f"{reading}+{MASKING}+{DECODING}:{len(self.classes)}"

    def files(self) -> list[tuple[str, Path]]:
        """Returns the images, masks and lists that are there."""
        images = [item.image for item in self._items if not item.no_image]
        masks = [item.mask for item in self._items if not item.no_mask]
        return [(self._name(file), file) for file in (*self._lists, *images, *masks)]

    def size(self, index: int) -> tuple[int, int]:
        """Returns height and width of an image by its header; zeros where it cannot be read."""
        item = self._items[index]
        return (0, 0) if item.no_image else image_size(item.image)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It is not there, or cannot be read.
            StorageError: The machine cannot read it, now.
        """
        item = self._items[index]
        if item.no_image:
            raise UnfitError(item.no_image)
        return decode(item.image, self._name(item.image))

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Returns the values of one mask, (H, W).

        Raises:
            UnfitError: It is not there, or cannot be read.
            StorageError: The machine cannot read it, now.
        """
        item = self._items[index]
        if item.no_mask:
            raise UnfitError(item.no_mask)
        read = sbd_mask if item.mask.suffix == ".mat" else decode_mask
        return read(item.mask, self.mask_name(index))

    def mask_name(self, index: int) -> str:
        """Returns what a message calls a mask: its file."""
        return self._name(self._items[index].mask)

    def _name(self, file: Path) -> str:
        return named_below(self.root, file)


def voc(path: Path | None, params: VocParameters) -> VocImages:
    """Opens data of your own in VOC's layout.

    Args:
        path: A folder of them.
        params: How many classes there are, where no `classes.txt` names them.

    Raises:
        UnfitError: A folder or list is not there; the number of classes is not known.
    """
    root = None if path is None else _root(path)
    if path is None or root is None:
        raise UnfitError(f"{path}: no images with masks: {'no path' if path is None else found_in(path)}; {LAYOUT}")
    lists = _lists(root)
    named = read_lists(lists)
    items = listed(root, named)
    file = classes_file(path, root)
    classes = _classes(root, file, params.classes, items)
    files = [*lists, *([file] if file else [])]
    return VocImages(root, items, classes, lists=files, reading="voc/1", remarks=repeated(root, named))


def is_voc(path: Path) -> bool:
    """Returns whether a folder is laid out as VOC is, if perhaps not whole."""
    return _root(path) is not None


class Told(NamedTuple):
    """What masks tell of their classes.

    Attributes:
        classes: How many there are at least.
        remark: That fewer occur; empty if all do.
    """

    classes: int
    remark: str


def classes_by_values(path: Path) -> Told | None:
    """Returns how many classes the masks of a folder in VOC's layout tell of, or None where a file names them.

    Raises:
        UnfitError: A folder or list is not there.
    """
    root = _root(path)
    if root is None or classes_file(path, root) is not None:
        return None
    values = values_of(listed(root, read_lists(_lists(root))))
    return Told(_number(values), _only(values)) if values else None


def _root(path: Path) -> Path | None:
    for marker in (VOC_MASKS, LISTS.as_posix()):
        root = find_below(path, VOC_IMAGES, marker)
        if root is not None:
            return root
    return None


def _lists(root: Path) -> dict[Path, int]:
    """Returns the part of each list that is there.

    Raises:
        UnfitError: There is nothing to train on.
    """
    files = {root / LISTS / f"{name}.txt": part for name, part in PARTS.items()}
    if not (train := root / LISTS / "train.txt").is_file():
        raise UnfitError(f"{train}: there is no such list: found {_found(train.parent)}; {LAYOUT}")
    return {file: part for file, part in files.items() if file.is_file()}


def _found(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    return some(names) or "nothing"


def classes_file(path: Path, root: Path) -> Path | None:
    """Returns the file that names the classes: in the folder of the images, or above it as far as the path."""
    places = [root, *(place for place in root.parents if place.is_relative_to(path))]
    return next((place / CLASSES for place in places if (place / CLASSES).is_file()), None)


def _classes(root: Path, named: Path | None, number: int | None, items: Sequence[Item]) -> tuple[str, ...]:
    """Returns the names of the classes: those of `classes.txt`, else numbers.

    Raises:
        UnfitError: There is neither, a single one, or both and they differ; where the number is not known, the message
            has the values that occur.
    """
    if named is None and number is None:
        values = values_of(items)
        if not values:
            raise UnfitError(f"{root}: no mask has a class: {_first_fault(items)}")
        occur = f" ({only})" if (only := _only(values)) else ""
        raise UnfitError(
            f"{root}: the masks have the values {some([str(value) for value in values], 12)}; say how many classes "
            f"there are, `classes: {_number(values)}`{occur}, or name them in {CLASSES}, one a line, from value 0 on"
        )
    names = class_names(named) if named is not None else tuple(map(str, range(number or 0)))
    if number is not None and len(names) != number:
        raise UnfitError(f"{named}: {len(names)} classes, but `classes: {number}`; leave that out, or mend the file")
    if not 2 <= len(names) <= VOID:
        raise UnfitError(f"{named}: expected 2 to {VOID} names, one a line; got {some(names)}")
    return names


def _only(values: Sequence[int]) -> str:
    """Returns that some of the classes that values tell of do not occur; empty if all do."""
    number = _number(values)
    return f"of which {len(values):,} occur, up to {values[-1]}" if 1 < len(values) < number else ""


def _number(values: Sequence[int]) -> int:
    """Returns how many classes some values, in order, tell of."""
    return max(2, values[-1] + 1)


def _first_fault(items: Sequence[Item]) -> str:
    if items[0].no_mask:
        return items[0].no_mask
    try:
        decode_mask(items[0].mask, items[0].mask.name)
    except UnfitError as error:
        return str(error)
    return "all pixels are void"


def values_of(items: Sequence[Item]) -> list[int]:
    """Returns the values of classes that occur in masks, in order; masks that cannot be read are passed over."""
    seen = np.zeros(VOID + 1, dtype=bool)
    for item in items:
        if item.no_mask:
            continue
        try:
            seen |= np.bincount(decode_mask(item.mask, item.name).ravel(), minlength=VOID + 1) > 0
        except UnfitError:
            continue  # the number of classes is wanted; reading the pixels will say what is wrong
    return [int(value) for value in np.flatnonzero(seen[:VOID])]
