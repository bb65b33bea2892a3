"""Images in files of their own that a list divides: the lists of a known image set, or a manifest."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING
from coretune.data.source import Domains
from coretune.data.sources.in_files import InFiles
from coretune.errors import UnfitError
from coretune.spec.wording import some


class Listed(NamedTuple):
    """One image of a list.

    Attributes:
        name: Its path below the folder, with `/` between folders.
        label: Its class.
        part: TRAIN, VALIDATION, TEST, or UNDECIDED.
        domain: Its domain, where there are domains.
    """

    name: str
    label: int
    part: int
    domain: int = 0


class ImageFiles(InFiles):
    """Images below a folder, sorted by name.

    Args:
        root: The folder.
        images: Name, label, part and domain of each.
        classes: Names of the classes.
        reading: Name and version of how lists become labels and parts.
        lists: Further files that labels or parts come from: their content is part of the data's identity.
        crop: Whether packing cuts the centre square.
        domains: Names of the domains, if there are any.

    Raises:
        UnfitError: An image is listed twice, or not there; a class has no image; a single class.
    """

    def __init__(
        self,
        root: Path,
        images: Iterable[Listed],
        classes: Sequence[str],
        *,
        reading: str,
        lists: Sequence[Path] = (),
        crop: bool = True,
        domains: Sequence[str] = (),
    ) -> None:
        listed = sorted(images)
        self._root, self._lists = root, tuple(lists)
        self.crop = crop
        self.decoding = f"{reading}+{DECODING}"
        self.classes = tuple(classes)
        self.names = tuple(image.name for image in listed)
        self.labels: NDArray[np.int64] = np.array([image.label for image in listed], dtype=np.int64)
        self.parts: NDArray[np.int8] = np.array([image.part for image in listed], dtype=np.int8)
        self.domains = (
            Domains(tuple(domains), np.array([image.domain for image in listed], dtype=np.int64)) if domains else None
        )
        _check_once(root, self.names)
        _check_there(root, self.names)
        _check_classes(root, self.classes, self.labels)

    def files(self) -> list[tuple[str, Path]]:
        """Returns every image, named by its path below the folder, and the lists."""
        lists = [(_relative(file, self._root), file) for file in self._lists]
        return [*super().files(), *lists]


def _relative(file: Path, root: Path) -> str:
    return Path(os.path.relpath(file, root)).as_posix()


def _check_once(root: Path, names: tuple[str, ...]) -> None:
    twice = sorted({one for one, other in pairwise(names) if one == other})
    if twice:
        raise UnfitError(f"{root}: {len(twice)} images are listed twice ({some(twice)})")


def _check_there(root: Path, names: tuple[str, ...]) -> None:
    """Refuses lists that name images which are not there. A folder is read once, not once for each of its images."""
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, _, file = name.rpartition("/")
        wanted[folder].append(file)
    absent: list[str] = []
    for folder, files in wanted.items():
        try:
            there = set(os.listdir(root / folder))
        except OSError:
            there = set()
        absent += [f"{folder}/{file}" if folder else file for file in files if file not in there]
    if absent:
        raise UnfitError(
            f"{root}: {len(absent):,} of {len(names):,} images that the lists name are not there ({some(absent, 3)}); "
            "was the archive unpacked to its end?"
        )


def _check_classes(root: Path, classes: tuple[str, ...], labels: NDArray[np.int64]) -> None:
    empty = [
        name for name, count in zip(classes, np.bincount(labels, minlength=len(classes)), strict=True) if not count
    ]
    if len(classes) < 2:
        raise UnfitError(f"{root}: {len(labels)} images of {len(classes)} classes; at least two are needed")
    if empty:
        raise UnfitError(f"{root}: no image of {some(empty)}")
