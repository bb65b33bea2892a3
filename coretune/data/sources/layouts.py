"""A known image set in whichever of its layouts lies on disk: the archive, class folders, or parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coretune.data.decode import EXTENSIONS, head_of, resemblance
from coretune.data.source import TEST, UNDECIDED, VALIDATION, Source, no_place
from coretune.data.sources.folder import Folder
from coretune.data.sources.parquet import Parquet
from coretune.data.sources.tree import IGNORED, holds_parquet
from coretune.errors import MissingError, UnfitError
from coretune.spec.catalog.datasets import FolderParameters, ParquetParameters
from coretune.spec.catalog.image_sets import image_set
from coretune.spec.components import DatasetComponent
from coretune.spec.wording import some

DEPTH = 2
"""How many folders below the path an archive may have been unpacked."""

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")


class Original(NamedTuple):
    """The layout of a set's own archive.

    Attributes:
        marker: A file or folder that tells it, by its path below the archive's root.
        read: Makes a source of that root.
    """

    marker: str
    read: Callable[[Path], Source]


def open_set(
    name: str,
    path: Path | None,
    originals: Sequence[Original],
    *,
    label_columns: Sequence[str] = (),
    classes: int | None = None,
    hint: str = "",
) -> Source:
    """Opens a known image set.

    Tried in this order: the archive, unpacked there or in a folder (of a folder) below; parquet files; class folders.

    Args:
        name: Its name in the catalog.
        path: Where it is.
        originals: The layouts of its archives.
        label_columns: Columns of labels in parquet that go before the usual ones.
        classes: Number of classes; None takes the declared one.
        hint: What may help where the number of classes is another one.

    Raises:
        UnfitError: It is not there or of another set; the message says where to get it, which layouts are accepted and
            what was found.
    """
    about = image_set(name)
    if path is None:
        raise nowhere(about)
    for original in originals:
        root = find_below(path, original.marker)
        if root is not None:
            source = original.read(root)
            _check_classes(source, about, path, classes or about.classes, hint)
            return source
    mirror = _mirror(about, path, label_columns)
    _check_classes(mirror, about, path, classes or about.classes, hint)
    _official_parts(mirror, about, path)
    return mirror


def nowhere(about: DatasetComponent) -> MissingError:
    """Returns the error of a set that has no place: where it was looked for, where to get it, and how it may lie."""
    return MissingError(str(absent(about, str(no_place(about.name)))))


def absent(about: DatasetComponent, problem: str) -> UnfitError:
    """Returns the error of a set that is not there: what is wrong, where to get it, and how it may lie."""
    layouts = "".join(f"\n  - {layout}" for layout in about.layouts)
    by_command = f", or `coretune data check {about.name} --download`" if about.download else ""
    return UnfitError(f"{problem}\nTo get it: {about.obtain}{by_command}\nExpected one of:{layouts}")


def found_in(path: Path) -> str:
    """Says what lies at a path, for a message: names, and archives that are to be unpacked or are none."""
    if not path.exists():
        return "there is no such folder"
    if not path.is_dir():
        return "it is no folder"
    try:
        names = sorted(entry.name for entry in os.scandir(path) if not entry.name.startswith("."))
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    packed = [name for name in names if name.endswith(ARCHIVES) and (path / name).is_file()]
    broken = [
        f"{name} is {said}" for name in packed if (said := resemblance(head_of(path / name) or b"", "an archive"))
    ]
    if broken:
        return f"found {'; '.join(broken)}"
    unpack = f" (unpack {some(packed)})" if packed else ""
    return f"found {some(names) or 'nothing'}{unpack}"


def find_below(path: Path, *markers: str) -> Path | None:
    """Returns the folder, the path itself or at most DEPTH below it, that has files or folders of some names in it.

    Raises:
        UnfitError: Several have it, at the same depth.
    """
    for level in levels(path):
        found = [folder for folder in level if all((folder / marker).exists() for marker in markers)]
        if len(found) > 1:
            names = some([folder.relative_to(path).as_posix() for folder in found])
            raise UnfitError(f"{path}: several copies, in {names}; give the path of one of them")
        if found:
            return found[0]
    return None


def levels(path: Path) -> Iterator[list[Path]]:
    """Yields a folder alone, then the visible ones in it, and so on, DEPTH levels below it."""
    level = [path]
    for _ in range(DEPTH + 1):
        yield level
        level = [below for folder in level for below in folders_in(folder)]


def folders_in(path: Path) -> list[Path]:
    """Returns the visible folders in a folder, sorted; none if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if not entry.name.startswith(".") and entry.name not in IGNORED and entry.is_dir()
            )
    except OSError:
        return []


def _mirror(about: DatasetComponent, path: Path, label_columns: Sequence[str]) -> Folder | Parquet:
    try:
        if holds_parquet(path):
            return Parquet(path, ParquetParameters(), label_columns)
        folder = _descended(path)
        if folder is not None:
            return Folder(folder, FolderParameters())
    except UnfitError as error:
        raise absent(about, str(error)) from error
    raise absent(about, f"{path}: {about.name} is not there: {found_in(path)}")


def _descended(path: Path) -> Path | None:
    """Returns the folder of parts or classes: several folders, below folders that hold nothing but one folder."""
    for _ in range(DEPTH + 1):
        below = folders_in(path)
        if len(below) > 1:
            return path
        if len(below) != 1 or any(_image_names(path)):
            return None
        path = below[0]
    return None


def _image_names(path: Path) -> Iterator[str]:
    return (name for name in os.listdir(path) if os.path.splitext(name)[1].lower() in EXTENSIONS)


def _official_parts(source: Folder | Parquet, about: DatasetComponent, path: Path) -> None:
    """Calls a mirror's validation part what it is where the set has no other: the official test part.

    Raises:
        UnfitError: There is a training part, but no test part.
    """
    if "test" not in about.counts or "val" in about.counts or (source.parts == TEST).any():
        return
    if not about.official:
        source.parts = np.full_like(source.parts, UNDECIDED)
        return
    if (source.parts == VALIDATION).any():
        source.parts = np.where(source.parts == VALIDATION, TEST, source.parts).astype(np.int8)
        source.decoding = f"{about.name}/1:{source.decoding}"
    elif not all_undecided(source):
        raise absent(about, f"{path}: no test part")


def _check_classes(source: Source, about: DatasetComponent, path: Path, expected: int | None, hint: str) -> None:
    if len(source.classes) != expected:
        raise absent(
            about, f"{path}: {len(source.classes)} classes ({some(source.classes)}); {about.name} has {expected}{hint}"
        )


def numbered(names: Sequence[str]) -> dict[str, int]:
    """Returns the label of each name."""
    return {name: label for label, name in enumerate(names)}


def all_undecided(source: Source) -> bool:
    """Returns whether a source has no official part."""
    return bool(np.all(source.parts == UNDECIDED))
