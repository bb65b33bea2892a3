"""Images and masks in the layout of PASCAL VOC: VOC 2012 itself, and data of your own that lie so.

<root>/JPEGImages/<name>.jpg
<root>/SegmentationClass/<name>.png
<root>/ImageSets/Segmentation/<train|val|test>.txt     names, one a line
<root>/classes.txt                                     of your own: names of the classes, one a line
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING, EXTENSIONS, decode, image_size
from coretune.data.masks import MASKING, VOID, decode_mask
from coretune.data.source import TEST, TRAIN, VALIDATION
from coretune.data.sources.layouts import find_below, found_in
from coretune.data.sources.lists import class_names, text_lines
from coretune.data.sources.parquet_files import CLASSES
from coretune.data.sources.sbd import sbd_mask
from coretune.data.sources.tree import VOC_IMAGES, VOC_MASKS
from coretune.errors import UnfitError
from coretune.spec.catalog.mask_sets import VocParameters
from coretune.spec.wording import some

LISTS = Path("ImageSets") / "Segmentation"
PARTS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
LAYOUT = (
    f"expected {VOC_IMAGES}/<name>.jpg, {VOC_MASKS}/<name>.png and {LISTS.as_posix()}/<train|val|test>.txt, in it or "
    "at most two folders below it"
)


class Item(NamedTuple):
    """An image and its mask.

    Attributes:
        name: Its name in the lists.
        part: TRAIN, VALIDATION, or TEST.
        image: The image's file.
        mask: The mask's file.
    """

    name: str
    part: int
    image: Path
    mask: Path


class VocImages:
    """Images with masks, each in a file of its own.

    Args:
        root: What names of files are relative to.
        items: The images, sorted by name.
        classes: Names of the classes.
        lists: Further files that parts or classes come from.
        reading: Name and version of how lists become parts.
    """

    def __init__(
        self, root: Path, items: Sequence[Item], classes: Sequence[str], *, lists: Sequence[Path], reading: str
    ) -> None:
        self._root, self._items, self._lists = root, tuple(items), tuple(lists)
        self.classes = tuple(classes)
        self.names = tuple(item.name for item in items)
        self.parts: NDArray[np.int8] = np.array([item.part for item in items], dtype=np.int8)
        self.decoding = f"{reading}+{MASKING}+{DECODING}:{len(self.classes)}"

    def files(self) -> list[tuple[str, Path]]:
        """Returns images, masks and lists."""
        files = [*self._lists, *(file for item in self._items for file in (item.image, item.mask))]
        return [(Path(os.path.relpath(file, self._root)).as_posix(), file) for file in files]

    def size(self, index: int) -> tuple[int, int]:
        """Returns height and width of an image by its header; zeros where it cannot be read."""
        return image_size(self._items[index].image)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It cannot be read.
            StorageError: The machine cannot read it, now.
        """
        return decode(self._items[index].image, self.names[index])

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Returns the values of one mask, (H, W).

        Raises:
            UnfitError: It cannot be read.
            StorageError: The machine cannot read it, now.
        """
        file, name = self._items[index].mask, f"mask of {self.names[index]}"
        return sbd_mask(file, name) if file.suffix == ".mat" else decode_mask(file, name)


def voc(path: Path | None, params: VocParameters) -> VocImages:
    """Opens data of your own in VOC's layout.

    Args:
        path: A folder of them.
        params: How many classes there are, where no `classes.txt` names them.

    Raises:
        UnfitError: A folder, list, image or mask is not there; the number of classes is not known.
    """
    root = None if path is None else _root(path)
    if path is None or root is None:
        raise UnfitError(f"{path}: no images with masks: {'no path' if path is None else found_in(path)}; {LAYOUT}")
    lists = _lists(root)
    items = listed(root, lists, {})
    named = classes_file(path, root)
    classes = _classes(root, named, params.classes, items)
    return VocImages(root, items, classes, lists=[*lists, *([named] if named else [])], reading="voc/1")


def is_voc(path: Path) -> bool:
    """Returns whether a folder is laid out as VOC is, if perhaps not whole."""
    return _root(path) is not None


def classes_by_values(path: Path) -> int | None:
    """Returns how many classes the masks of a folder in VOC's layout tell of, or None where a file names them.

    Raises:
        UnfitError: An image or a mask that is listed is not there.
    """
    root = _root(path)
    if root is None or classes_file(path, root) is not None:
        return None
    values = values_of(listed(root, _lists(root), {}))
    return _number(values) if values else None


def _root(path: Path) -> Path | None:
    for marker in (VOC_MASKS, LISTS.as_posix()):
        root = find_below(path, VOC_IMAGES, marker)
        if root is not None:
            return root
    return None


def _lists(root: Path) -> dict[Path, dict[str, int]]:
    """Returns the part of each name, by list.

    Raises:
        UnfitError: There is nothing to train on, or a list cannot be read.
    """
    files = {root / LISTS / f"{name}.txt": part for name, part in PARTS.items()}
    if not (train := root / LISTS / "train.txt").is_file():
        raise UnfitError(f"{train}: there is no such list: found {_found(train.parent)}; {LAYOUT}")
    return read_lists({file: part for file, part in files.items() if file.is_file()})


def read_lists(files: Mapping[Path, int]) -> dict[Path, dict[str, int]]:
    """Returns the part of each name, by list; given the part of each list.

    Raises:
        UnfitError: A list cannot be read.
    """
    return {file: {name: part for _, name in text_lines(file)} for file, part in files.items()}


def _found(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    return some(names) or "nothing"


def classes_file(path: Path, root: Path) -> Path | None:
    """Returns the file that names the classes: in the folder of the images, or above it as far as the path."""
    places = [root, *(place for place in root.parents if place.is_relative_to(path))]
    return next((place / CLASSES for place in places if (place / CLASSES).is_file()), None)


def listed(root: Path, lists: Mapping[Path, Mapping[str, int]], masks: Mapping[str, Path]) -> list[Item]:
    """Returns the images that lists name, sorted by name.

    Args:
        root: The folder of images and masks.
        lists: The part of each name, by list.
        masks: Masks that lie elsewhere than in `SegmentationClass`, by name.

    Raises:
        UnfitError: A name stands in two lists, or an image or a mask is not there; all of them.
    """
    parts: dict[str, int] = {}
    twice = []
    for names in lists.values():
        twice += [name for name in names if name in parts]
        parts.update(names)
    images, own = _by_stem(root / VOC_IMAGES), _by_stem(root / VOC_MASKS)
    several = [name for name in parts if len(images.get(name, ())) > 1 or len(own.get(name, ())) > 1]
    found = {name: masks.get(name, next(iter(own.get(name, ())), None)) for name in parts}
    wrong = [
        *_absent("stand in several lists", twice, len(parts)),
        *_absent("have several images or masks", several, len(parts)),
        *_absent(f"have no image in {VOC_IMAGES}/", [name for name in parts if name not in images], len(parts)),
        *_absent(f"have no mask in {VOC_MASKS}/", [name for name, file in found.items() if file is None], len(parts)),
    ]
    if wrong:
        raise UnfitError(f"{root}: {'; '.join(wrong)}")
    return [Item(name, parts[name], images[name][0], mask) for name, mask in sorted(found.items()) if mask is not None]


def _absent(what: str, names: Sequence[str], total: int) -> list[str]:
    return [f"{len(names):,} of {total:,} names {what} ({some(sorted(names), 3)})"] if names else []


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """Returns the images in a folder by their names without suffix."""
    try:
        with os.scandir(folder) as entries:
            split = [(*os.path.splitext(entry.name), entry.path) for entry in entries]
    except OSError as error:
        raise UnfitError(f"{folder}: cannot be read: {error.strerror or error}; {LAYOUT}") from error
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for stem, suffix, path in sorted(split):
        if suffix.lower() in EXTENSIONS:
            found[stem].append(Path(path))
    return found


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
        hint = f"`classes: {_number(values)}`"
        raise UnfitError(
            f"{root}: the masks have the values {some([str(value) for value in values], 12)}; say how many classes "
            f"there are, {hint}, or name them in {CLASSES}, one a line, from value 0 on"
        )
    names = class_names(named) if named is not None else tuple(map(str, range(number or 0)))
    if number is not None and len(names) != number:
        raise UnfitError(f"{named}: {len(names)} classes, but `classes: {number}`; leave that out, or mend the file")
    if not 2 <= len(names) <= VOID:
        raise UnfitError(f"{named}: expected 2 to {VOID} names, one a line; got {some(names)}")
    return names


def _number(values: Sequence[int]) -> int:
    """Returns how many classes some values, in order, tell of."""
    return max(2, values[-1] + 1)


def _first_fault(items: Sequence[Item]) -> str:
    try:
        decode_mask(items[0].mask, f"mask of {items[0].name}")
    except UnfitError as error:
        return str(error)
    return "all pixels are void"


def values_of(items: Sequence[Item]) -> list[int]:
    """Returns the values of classes that occur in masks, in order; masks that cannot be read are passed over."""
    seen = np.zeros(VOID + 1, dtype=bool)
    for item in items:
        try:
            seen |= np.bincount(decode_mask(item.mask, item.name).ravel(), minlength=VOID + 1) > 0
        except UnfitError:
            continue  # the number of classes is wanted; reading the pixels will say what is wrong
    return [int(value) for value in np.flatnonzero(seen[:VOID])]
