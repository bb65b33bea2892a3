"""Whether a data set is what it should be: counts, sizes, unreadable files, and images that stand in several parts."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from coretune.data.resize import square
from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION, Source, domains_of
from coretune.errors import UnfitError
from coretune.spec.components import DatasetComponent
from coretune.spec.wording import some

PART_NAMES = {TRAIN: "train", VALIDATION: "val", TEST: "test", UNDECIDED: "undecided"}
COMPARED = 60_000
"""Images up to which near-duplicates are looked for: each test image is compared with every other one."""

SIDE = 32
"""Pixels at which images are compared; copies in which a detail was changed are alike there, too."""

NEAR = 0.99
"""Correlation of pixels from which two images are near-duplicates."""

AHEAD = 256
"""Images that the decoding threads may be ahead of the one that is looked at."""


@dataclass(frozen=True)
class Sizes:
    """Smallest, median and largest of the images' widths and heights, in pixels."""

    width: tuple[int, int, int]
    height: tuple[int, int, int]


@dataclass(frozen=True)
class Near:
    """A test image and the image outside of the test part that is most like it."""

    test: str
    other: str
    similarity: float
    same_class: bool


@dataclass(frozen=True)
class Report:
    """What was found in a data set.

    Attributes:
        name: The data set.
        images: Number of images.
        parts: Images by part: train, val, test, undecided; parts without an image are left out.
        domains: Images by domain, where there are domains.
        classes: Images by class and part.
        sizes: Sizes of the images, or None if none can be read.
        unreadable: What cannot be read and why, one line each.
        across: Names of images that are the same, in different official parts; one group each.
        repeated: Number of images that are the same as an earlier one of their own part.
        contradicting: Number of images that are the same as an earlier one of another class.
        near: Near-duplicates of test images outside of the test part, or None where they were not looked for.
        problems: What is wrong, one line each.
        remarks: What is worth knowing, one line each.
    """

    name: str
    images: int
    parts: Mapping[str, int]
    domains: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    sizes: Sizes | None
    unreadable: tuple[str, ...]
    across: tuple[tuple[str, ...], ...]
    repeated: int
    contradicting: int
    near: tuple[Near, ...] | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def check(source: Source, about: DatasetComponent, on_image: Callable[[], None] = lambda: None) -> Report:
    """Decodes every image of a data set once, and compares it with its declaration and with the others.

    Args:
        source: The images.
        about: What is expected.
        on_image: Called after each image.
    """
    looks = _looked_at(source, on_image)
    unreadable = tuple(look for look in looks if isinstance(look, str))
    seen = {index: look for index, look in enumerate(looks) if not isinstance(look, str)}
    across, repeated, contradicting = _copies(source, seen)
    near = _near(source, seen)
    parts = _by_part(source.parts)
    domains = domains_of(source)
    counts = np.bincount(domains.of, minlength=len(domains.names)).tolist() if domains is not None else []
    by_domain = dict(zip(domains.names, counts, strict=True)) if domains is not None else {}
    problems = [*_miscounted(about, len(source.names), parts, by_domain)]
    if unreadable:
        problems.append(f"{len(unreadable):,} of {len(source.names):,} images cannot be read")
    if across:
        problems.append(f"{len(across):,} images stand in several parts, e.g. {' = '.join(across[0])}")
    return Report(
        name=about.name,
        images=len(source.names),
        parts=parts,
        domains=by_domain,
        classes={name: _by_part(source.parts[source.labels == label]) for label, name in enumerate(source.classes)},
        sizes=_sizes([look.shape for look in seen.values()]),
        unreadable=unreadable,
        across=across,
        repeated=repeated,
        contradicting=contradicting,
        near=near,
        problems=tuple(problems),
        remarks=tuple(_remarks(about, parts, repeated, contradicting, near, unreadable=bool(unreadable))),
    )


@dataclass(frozen=True)
class _Look:
    """What is kept of an image: a hash of its pixels, its height and width, and a small copy."""

    content: bytes
    shape: tuple[int, int]
    small: NDArray[np.uint8] | None


def _looked_at(source: Source, on_image: Callable[[], None]) -> list[_Look | str]:
    keep = len(source.names) <= COMPARED and bool((source.parts == TEST).any() and (source.parts != TEST).any())

    def look(index: int) -> _Look | str:
        try:
            image = source.image(index)
        except UnfitError as error:
            return str(error)
        content = hashlib.blake2b(image.tobytes(), digest_size=16, salt=b"%dx%d" % image.shape[:2])
        small = square(image, SIDE, crop=False) if keep else None
        return _Look(content.digest(), (image.shape[0], image.shape[1]), small)

    found = []
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        indices = iter(range(len(source.names)))
        while batch := list(islice(indices, AHEAD)):
            for item in pool.map(look, batch):
                found.append(item)
                on_image()
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _copies(source: Source, seen: Mapping[int, _Look]) -> tuple[tuple[tuple[str, ...], ...], int, int]:
    """Returns the groups of the same image in different official parts, and how many are repeated or contradicting."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, look in seen.items():
        groups[look.content].append(index)
    several = [group for group in groups.values() if len(group) > 1]
    across = [
        tuple(source.names[index] for index in group)
        for group in several
        if len({int(source.parts[index]) for index in group} - {UNDECIDED}) > 1
    ]
    repeated = sum(len(group) - len({int(source.parts[index]) for index in group}) for group in several)
    contradicting = sum(len({int(source.labels[index]) for index in group}) - 1 for group in several)
    return tuple(across), repeated, contradicting


def _near(source: Source, seen: Mapping[int, _Look]) -> tuple[Near, ...] | None:
    """Returns the near-duplicates of test images that are not copies to the last pixel."""
    small = {index: look.small for index, look in seen.items() if look.small is not None}
    test = [index for index in small if source.parts[index] == TEST]
    others = [index for index in small if source.parts[index] != TEST]
    if not test or not others:
        return None
    from coretune.data.duplicates import nearest_images

    found = nearest_images(np.stack([small[i] for i in test]), np.stack([small[i] for i in others]))
    pairs = zip(test, found.index.tolist(), found.similarity.tolist(), strict=True)
    near = [
        Near(
            source.names[i],
            source.names[others[j]],
            round(value, 4),
            bool(source.labels[i] == source.labels[others[j]]),
        )
        for i, j, value in pairs
        if value >= NEAR and seen[i].content != seen[others[j]].content
    ]
    return tuple(sorted(near, key=lambda pair: -pair.similarity))


def _by_part(parts: NDArray[np.int8]) -> dict[str, int]:
    counts = Counter(parts.tolist())
    return {name: counts[part] for part, name in PART_NAMES.items() if counts[part]}


def _sizes(shapes: Sequence[tuple[int, int]]) -> Sizes | None:
    if not shapes:
        return None
    three = [(int(side.min()), round(float(np.median(side))), int(side.max())) for side in np.array(shapes).T]
    return Sizes(width=three[1], height=three[0])


def _miscounted(
    about: DatasetComponent, images: int, parts: Mapping[str, int], domains: Mapping[str, int]
) -> Iterator[str]:
    """Yields what differs from the declared counts. A layout without official parts is compared as a whole."""
    expected = dict(about.counts)
    if not expected:
        return
    if about.domains:
        found: Mapping[str, int] = domains
    elif "all" in expected or set(parts) == {"undecided"}:
        found, expected = {"all": images}, {"all": sum(expected.values())}
    else:
        found = parts
    for name in dict.fromkeys([*expected, *found]):
        here, there = found.get(name, 0), expected.get(name, 0)
        if here != there:
            yield f"{name}: {here:,} images, expected {there:,}"


def _remarks(
    about: DatasetComponent,
    parts: Mapping[str, int],
    repeated: int,
    contradicting: int,
    near: tuple[Near, ...] | None,
    *,
    unreadable: bool,
) -> Iterator[str]:
    if "undecided" in parts and "test" in about.counts:
        yield "this layout has no official test part: it is drawn, and results are not those of the official one"
    if unreadable:
        yield "a study refuses images that cannot be read; with `corrupt: skip` below `data`, it leaves them out"
    if repeated:
        pool = "; those of the undecided ones may come apart when parts are drawn" if "undecided" in parts else ""
        yield f"{repeated:,} images are the same as another one of their part{pool}"
    if contradicting:
        yield f"{contradicting:,} images are the same as one of another class"
    if near:
        alike = [f"{pair.test} ~ {pair.other}" for pair in near]
        yield f"{len(near):,} test images have a near-duplicate outside of the test part ({some(alike, 2)})"
