"""A folder of images as a tree: which images lie where, hidden files and empty folders left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coretune.data.decode import EXTENSIONS
from coretune.errors import UnfitError

VOC_IMAGES, VOC_MASKS = "JPEGImages", "SegmentationClass"
"""Folders of images and of their masks, in the layout of PASCAL VOC."""

IGNORED = frozenset({"__MACOSX", "__pycache__"})


@dataclass(frozen=True)
class Tree:
    """One folder.

    Attributes:
        images: Names of the images that lie in it, sorted.
        folders: The folders in it that hold an image somewhere below them, by name, sorted.
        others: How many visible files below it are no images.
        empty: Names of the folders in it that hold no image, sorted.
    """

    images: tuple[str, ...]
    folders: Mapping[str, Tree]
    others: int
    empty: tuple[str, ...] = ()

    def below(self, prefix: str) -> tuple[str, ...]:
        """Returns the paths of all images in it and below it, each beginning with `prefix/`."""
        return tuple(f"{prefix}/{name}" for name in self._names())

    def count(self) -> int:
        """Returns the number of images in it and below it."""
        return len(self.images) + sum(folder.count() for folder in self.folders.values())

    def masks(self, path: Path) -> Path | None:
        """Returns the folder, the path that this one has or one below it, where masks lie beside images, as in VOC."""
        if {VOC_IMAGES, VOC_MASKS} <= self.folders.keys():
            return path
        found = (folder.masks(path / name) for name, folder in self.folders.items())
        return next((place for place in found if place is not None), None)

    def _names(self) -> Iterator[str]:
        yield from self.images
        for name, folder in self.folders.items():
            yield from folder.below(name)


def scan(path: Path) -> Tree:
    """Reads a folder and everything below it. Links are followed, but never in a circle.

    Raises:
        UnfitError: A folder cannot be read.
    """
    return _scan(str(path), ())


def holds_parquet(path: Path) -> bool:
    """Returns whether a path is a parquet file, or a folder with some in it or in the folders below."""
    if path.is_file():
        return path.suffix.lower() == ".parquet"
    return any(True for depth in ("", "*/", "*/*/") for _ in path.glob(f"{depth}*.parquet"))


def refuse_masks(path: Path, tree: Tree) -> None:
    """Refuses a folder in which masks lie beside images: they are no images, and these folders no classes.

    Raises:
        UnfitError: There are some.
    """
    place = tree.masks(path)
    if place is not None:
        raise UnfitError(
            f"{place}: {VOC_IMAGES}/ and {VOC_MASKS}/ are images and their masks, no classes; the images alone are "
            f"{place / VOC_IMAGES}"
        )


def _scan(path: str, above: tuple[tuple[int, int], ...]) -> Tree:
    images: list[str] = []
    folders: dict[str, Tree] = {}
    others = 0
    empty: list[str] = []
    try:
        here = os.stat(path)
        identity = (here.st_dev, here.st_ino)
        if identity in above:
            return Tree((), {}, 0)
        with os.scandir(path) as entries:
            visible = sorted((e for e in entries if not e.name.startswith(".") and e.name not in IGNORED), key=_name)
        for entry in visible:
            if entry.is_dir():
                tree = _scan(entry.path, (*above, identity))
                others += tree.others
                if tree.images or tree.folders:
                    folders[entry.name] = tree
                else:
                    empty.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                images.append(entry.name)
            else:
                others += 1
    except OSError as error:
        raise UnfitError(f"{path}: cannot be read: {error.strerror or error}") from error
    return Tree(tuple(images), folders, others, tuple(empty))


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
