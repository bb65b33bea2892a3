"""Looks at all images of a data set with several threads, and finds those that are the same."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION
from coretune.errors import UnfitError

PART_NAMES = {TRAIN: "train", VALIDATION: "val", TEST: "test", UNDECIDED: "undecided"}

AHEAD = 256
"""Images that the decoding threads may be ahead of the one that is looked at."""

Look = TypeVar("Look")


@dataclass(frozen=True)
class Sizes:
    """Smallest, median and largest of the images' widths and heights, in pixels."""

    width: tuple[int, int, int]
    height: tuple[int, int, int]


def looked_at(
    number: int, look: Callable[[int], Look], on_image: Callable[[], None]
) -> tuple[dict[int, Look], tuple[str, ...]]:
    """Returns what was seen of each image that can be read, by index, and why the others cannot.

    Args:
        number: How many there are.
        look: Looks at one of them, in a thread.
        on_image: Called after each.
    """

    def looking(index: int) -> Look | UnfitError:
        try:
            return look(index)
        except UnfitError as error:
            return error

    seen: dict[int, Look] = {}
    unreadable: list[str] = []
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        indices = iter(range(number))
        while batch := list(islice(indices, AHEAD)):
            for index, found in zip(batch, pool.map(looking, batch), strict=True):
                if isinstance(found, UnfitError):
                    unreadable.append(str(found))
                else:
                    seen[index] = found
                on_image()
    finally:
        pool.shutdown(cancel_futures=True)
    return seen, tuple(unreadable)


def content_of(image: NDArray[np.uint8]) -> bytes:
    """Returns a hash of an image's pixels and shape."""
    return hashlib.blake2b(image.tobytes(), digest_size=16, salt=b"%dx%d" % image.shape[:2]).digest()


@dataclass(frozen=True)
class Copies:
    """Images that are the same.

    Attributes:
        groups: Indices of the images of each group, of two at least.
        across: Those groups that stand in several official parts, by name.
        repeated: Number of images that are the same as an earlier one of their own part.
    """

    groups: tuple[tuple[int, ...], ...]
    across: tuple[tuple[str, ...], ...]
    repeated: int


def copies(contents: Mapping[int, bytes], parts: NDArray[np.int8], names: Sequence[str]) -> Copies:
    """Returns the images of equal content, by index."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, content in contents.items():
        groups[content].append(index)
    several = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    across = [
        tuple(names[index] for index in group)
        for group in several
        if len({int(parts[index]) for index in group} - {UNDECIDED}) > 1
    ]
    repeated = sum(len(group) - len({int(parts[index]) for index in group}) for group in several)
    return Copies(several, tuple(across), repeated)


def across_domains(same: Copies, domains: NDArray[np.int64], names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Returns the groups of equal images that stand in several domains, by name.

    Args:
        same: The images of equal content.
        domains: (N,) domain of each image.
        names: Names of the images.
    """
    groups = [group for group in same.groups if len({int(domains[index]) for index in group}) > 1]
    return tuple(tuple(names[index] for index in group) for group in groups)


def by_part(parts: NDArray[np.int8]) -> dict[str, int]:
    """Returns the number of images of each part that has some."""
    counts = Counter(parts.tolist())
    return {name: counts[part] for part, name in PART_NAMES.items() if counts[part]}


def sizes_of(shapes: Sequence[tuple[int, int]]) -> Sizes | None:
    """Returns the sizes of images of some heights and widths, or None if there are none."""
    if not shapes:
        return None
    three = [(int(side.min()), round(float(np.median(side))), int(side.max())) for side in np.array(shapes).T]
    return Sizes(width=three[1], height=three[0])
