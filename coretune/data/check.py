"""Whether a data set is what it should be: counts, sizes, unreadable files, and images that stand in several parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coretune.data.look import (
    Copies,
    Sizes,
    across_domains,
    by_part,
    content_of,
    copies,
    looked_at,
    sizes_of,
)
from coretune.data.resize import square
from coretune.data.source import TEST, Domains, Source, domains_of, remarks_of
from coretune.data.unreadable import counted
from coretune.spec.components import DatasetComponent
from coretune.spec.wording import some

COMPARED = 60_000
"""Images up to which near-duplicates are looked for: each test image is compared with every other one."""

SIDE = 32
"""Pixels at which images are compared; copies in which a detail was changed are alike there, too."""

NEAR = 0.99
"""Correlation of pixels from which two images are near-duplicates."""


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
        across_domains: Names of images that are the same, in different domains; one group each.
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
    across_domains: tuple[tuple[str, ...], ...]
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
    seen, unreadable = looked_at(len(source.names), _look_of(source), on_image)
    same = copies({index: look.content for index, look in seen.items()}, source.parts, source.names)
    contradicting = sum(len({int(source.labels[index]) for index in group}) - 1 for group in same.groups)
    near = _near(source, seen)
    parts = by_part(source.parts)
    domains = domains_of(source)
    by_domain = _by_domain(domains)
    shared = across_domains(same, domains.of, source.names) if domains is not None else ()
    problems = [
        *miscounted(about, len(source.names), parts, by_domain),
        *unread_or_across(counted(len(unreadable), len(source.names)) if unreadable else "", same),
    ]
    return Report(
        name=about.name,
        images=len(source.names),
        parts=parts,
        domains=by_domain,
        classes={name: by_part(source.parts[source.labels == label]) for label, name in enumerate(source.classes)},
        sizes=sizes_of([look.shape for look in seen.values()]),
        unreadable=unreadable,
        across=same.across,
        across_domains=shared,
        repeated=same.repeated,
        contradicting=contradicting,
        near=near,
        problems=tuple(problems),
        remarks=(
            *remarks_of(source),
            *_about_domains(shared),
            *_remarks(about, parts, same.repeated, contradicting, near, unreadable=bool(unreadable)),
        ),
    )


@dataclass(frozen=True)
class _Look:
    """What is kept of an image: a hash of its pixels, its height and width, and a small copy."""

    content: bytes
    shape: tuple[int, int]
    small: NDArray[np.uint8] | None


def _look_of(source: Source) -> Callable[[int], _Look]:
    keep = len(source.names) <= COMPARED and bool((source.parts == TEST).any() and (source.parts != TEST).any())

    def look(index: int) -> _Look:
        image = source.image(index)
        small = square(image, SIDE, crop=False) if keep else None
        return _Look(content_of(image), (image.shape[0], image.shape[1]), small)

    return look


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


def unread_or_across(unread: str, same: Copies) -> Iterator[str]:
    """Yields that images cannot be read, in the words given, and that some stand in several parts."""
    if unread:
        yield unread
    if same.across:
        yield f"{len(same.across):,} images stand in several parts, e.g. {' = '.join(same.across[0])}"


def count_problems(about: DatasetComponent, parts: NDArray[np.int8], domains: Domains | None) -> list[str]:
    """Returns what differs from the declared counts, one line each, without looking at an image.

    Args:
        about: What is expected.
        parts: (N,) official part of each image, as in `source`.
        domains: Which domain each is of, where there are some.
    """
    return list(miscounted(about, len(parts), by_part(parts), _by_domain(domains)))


def _by_domain(domains: Domains | None) -> dict[str, int]:
    if domains is None:
        return {}
    counts = np.bincount(domains.of, minlength=len(domains.names)).tolist()
    return dict(zip(domains.names, counts, strict=True))


def how_left_out(*, masks: bool = False) -> str:
    """Returns what a study does about images that cannot be read or, with masks, used."""
    wrong = "used" if masks else "read"
    return f"a study refuses images that cannot be {wrong}; with `corrupt: skip` below `data`, it leaves them out"


def miscounted(
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


def _about_domains(shared: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    if shared:
        yield (
            f"{len(shared):,} images stand in several domains, e.g. {' = '.join(shared[0])}: of a held-out domain, "
            "such images are trained on"
        )


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
        yield how_left_out()
    if repeated:
        pool = "; those of the undecided ones may come apart when parts are drawn" if "undecided" in parts else ""
        yield f"{repeated:,} images are the same as another one of their part{pool}"
    if contradicting:
        yield f"{contradicting:,} images are the same as one of another class"
    if near:
        alike = [f"{pair.test} ~ {pair.other}" for pair in near]
        yield f"{len(near):,} test images have a near-duplicate outside of the test part ({some(alike, 2)})"
