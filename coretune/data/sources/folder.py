"""Your own images: a folder per class, perhaps below a folder per part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING
from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION
from coretune.data.sources.in_files import InFiles
from coretune.data.sources.tree import Tree, holds_parquet, refuse_masks, scan
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters
from coretune.spec.wording import some

PARTS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""Folder names, in lower case, that are parts and not classes."""

LAYOUT = "expected <class>/<image>, or <train|val|test>/<class>/<image>"


class Folder(InFiles):
    """Images whose class is the name of their folder; folders below a class belong to it.

    Classes are in the order of their names; hidden files and files of other kinds are ignored, and so are folders
    without an image. Links are followed.

    Args:
        path: The folder.
        params: How images become squares.

    Attributes:
        remarks: What is worth knowing, one line each: which folders are left out, and whether classes look like
            domains.

    Raises:
        UnfitError: There is no folder, no image, a single class, images beside the folders, or parts that differ in
            their classes.
    """

    decoding = f"folder/1+{DECODING}"

    def __init__(self, path: Path | None, params: FolderParameters) -> None:
        if path is None or not path.is_dir():
            raise UnfitError(f"{path} is no folder; {LAYOUT}{_other_kind(path)}")
        self.crop = params.crop
        self._root = path
        root = scan(path)
        refuse_masks(path, root)
        parts = _parts(path, root)
        classes = [found for part in parts for found in part.classes]
        self.remarks = (*_empty(root, parts), *_nested(path, root, parts))
        self.classes = tuple(sorted({found.name for found in classes}))
        label = {name: index for index, name in enumerate(self.classes)}
        images = sorted((name, label[found.name], found.part) for found in classes for name in found.images)
        self.names = tuple(name for name, _, _ in images)
        self.labels: NDArray[np.int64] = np.array([label for _, label, _ in images], dtype=np.int64)
        self.parts: NDArray[np.int8] = np.array([part for _, _, part in images], dtype=np.int8)


@dataclass(frozen=True)
class _Class:
    """The images of one class in one part, by their paths below the root."""

    name: str
    part: int
    images: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """One part of the data; `folder` is empty where the classes lie in the root itself."""

    folder: str
    classes: tuple[_Class, ...]


def _parts(path: Path, root: Tree) -> list[_Part]:
    """Finds out which layout a folder has, and reads it."""
    if not root.count():
        raise UnfitError(f"{path}: no image below it ({_found(root)}); {LAYOUT}{_other_kind(path)}")
    _no_loose_images(path, root, "")
    named = {name for name in root.folders if name.lower() in PARTS}
    # A class may be called "train": it is a part only if its images lie in folders of their own.
    if named and (len(named) == len(root.folders) or any(root.folders[name].folders for name in named)):
        parts = _read_parts(path, root, named)
    else:
        parts = [_Part("", tuple(_Class(name, UNDECIDED, tree.below(name)) for name, tree in root.folders.items()))]
    _check_classes(path, root, parts)
    return parts


def _empty(root: Tree, parts: list[_Part]) -> Iterator[str]:
    """Yields which folders look like classes and hold no image."""
    for part in parts:
        tree = root.folders[part.folder] if part.folder else root
        names = [f"{part.folder}/{name}" if part.folder else name for name in tree.empty]
        if names:
            yield f"{some(names)}: no image in there, and so no class"


def _nested(path: Path, root: Tree, parts: list[_Part]) -> Iterator[str]:
    """Yields that classes look like domains: each holds nothing but the same folders, which may be the classes."""
    trees = list(root.folders.values())
    if any(part.folder for part in parts) or any(tree.images for tree in trees):
        return
    shared = sorted(set.intersection(*(set(tree.folders) for tree in trees)))
    if len(shared) > 1 and not {name.lower() for name in shared} <= PARTS.keys():
        yield (
            f"the classes have the same folders ({some(shared)}): if {some(list(root.folders))} are domains, and these "
            f"the classes, they are read with `dataset: domain_folders`: `coretune data check domain_folders --path "
            f"{path}`"
        )


def _read_parts(path: Path, root: Tree, named: set[str]) -> list[_Part]:
    others = sorted(set(root.folders) - named)
    if others:
        raise UnfitError(f"{path}: parts ({some(sorted(named))}) and classes ({some(others)}) side by side; {LAYOUT}")
    parts: dict[int, _Part] = {}
    for name in sorted(named):
        part = PARTS[name.lower()]
        if part in parts:
            raise UnfitError(f"{path}: {parts[part].folder}/ and {name}/ are the same part; leave one")
        tree = root.folders[name]
        _no_loose_images(path, tree, f"{name}/")
        classes = (_Class(label, part, below.below(f"{name}/{label}")) for label, below in tree.folders.items())
        parts[part] = _Part(name, tuple(classes))
    if TRAIN not in parts:
        raise UnfitError(f"{path}: has {some(sorted(named))}, but no train/; {LAYOUT}")
    return list(parts.values())


def _check_classes(path: Path, root: Tree, parts: list[_Part]) -> None:
    everything = {found.name for part in parts for found in part.classes}
    for part in parts:
        absent = everything - {found.name for found in part.classes}
        if absent:
            raise UnfitError(
                f"{path}: the parts differ in their classes: {part.folder}/ has no image of {some(sorted(absent))}"
            )
    if len(everything) > 1:
        return
    (only,) = everything
    below = root.folders[only].folders if only in root.folders else {}
    hint = f"; the folders below it look like classes: did you mean {path / only}?" if len(below) > 1 else ""
    raise UnfitError(f"{path}: a single class, {only}; at least two are needed{hint}")


def _no_loose_images(path: Path, tree: Tree, prefix: str) -> None:
    if tree.images:
        beside = f" beside the folders {some(sorted(tree.folders))}" if tree.folders else ""
        raise UnfitError(
            f"{path}: {len(tree.images)} images ({some([prefix + name for name in tree.images])}) lie in no class "
            f"folder{beside}; {LAYOUT}"
        )


def _other_kind(path: Path | None) -> str:
    """Returns how to name data that are no folder of images, but a table or parquet files; nothing of others."""
    if path is None:
        return ""
    if path.is_file() and path.suffix.lower() in (".csv", ".parquet"):
        return "; a table that lists images is read with `dataset: manifest`"
    if path.is_dir() and holds_parquet(path):
        return "; parquet files are read with `dataset: parquet`"
    return ""


def _found(root: Tree) -> str:
    others = f"{root.others} files of other kinds" if root.others else "nothing else either"
    return f"found {others}"
