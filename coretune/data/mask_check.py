"""Whether images with masks are what they should be: counts, sizes, classes by pixel, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coretune.data.check import how_left_out, miscounted, unread_or_across
from coretune.data.learnable import TRAINING, unlearnable
from coretune.data.look import Sizes, by_part, content_of, copies, looked_at, sizes_of
from coretune.data.masks import VOID, MaskSource, read_pair, root_of
from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION, remarks_of
from coretune.data.unreadable import counted
from coretune.spec.components import DatasetComponent
from coretune.spec.wording import some


@dataclass(frozen=True)
class ClassPixels:
    """How often a class occurs.

    Attributes:
        images: Images that have a pixel of it, by part.
        share: Share of it among the pixels that are of any class, from 0 to 1.
    """

    images: Mapping[str, int]
    share: float


@dataclass(frozen=True)
class MaskReport:
    """What was found in images with masks.

    Attributes:
        name: The data set.
        images: Number of images.
        parts: Images by part: train, val, test.
        classes: How often each class occurs.
        void: Share of the pixels that are of no class, from 0 to 1.
        sizes: Sizes of the images, or None if none can be read.
        unreadable: What cannot be read or does not fit and why, one line for each image.
        across: Names of images that are the same, in different parts; one group each.
        repeated: Number of images that are the same as an earlier one of their own part.
        problems: What is wrong, one line each.
        remarks: What is worth knowing, one line each.
    """

    name: str
    images: int
    parts: Mapping[str, int]
    classes: Mapping[str, ClassPixels]
    void: float
    sizes: Sizes | None
    unreadable: tuple[str, ...]
    across: tuple[tuple[str, ...], ...]
    repeated: int
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Look:
    """What is kept of an image: a hash of its pixels, its height and width, and the pixels of each value."""

    content: bytes
    shape: tuple[int, int]
    pixels: NDArray[np.int64]


def check_masks(source: MaskSource, about: DatasetComponent, on_image: Callable[[], None] = lambda: None) -> MaskReport:
    """Decodes every image and mask once, and compares them with their declaration and with one another.

    Args:
        source: Images and masks.
        about: What is expected.
        on_image: Called after each image.
    """

    def look(index: int) -> _Look:
        image, mask = read_pair(source, index)
        pixels = np.bincount(mask.ravel(), minlength=VOID + 1)
        return _Look(content_of(image), (image.shape[0], image.shape[1]), pixels)

    seen, unreadable = looked_at(len(source.names), look, on_image)
    same = copies({index: look.content for index, look in seen.items()}, source.parts, source.names)
    parts = by_part(source.parts)
    pixels = np.array([look.pixels for look in seen.values()], dtype=np.int64).reshape(-1, VOID + 1)
    classes = _classes(source, pixels, source.parts[list(seen)])
    problems = [
        *miscounted(about, len(source.names), parts, {}),
        *unread_or_across(_unused(source, len(unreadable)), same),
        *unlearnable(pixels[:, : len(source.classes)], _parts(source.parts[list(seen)]), source.classes),
    ]
    return MaskReport(
        name=about.name,
        images=len(source.names),
        parts=parts,
        classes=classes,
        void=float(pixels[:, VOID].sum() / max(1, pixels.sum())),
        sizes=sizes_of([look.shape for look in seen.values()]),
        unreadable=unreadable,
        across=same.across,
        repeated=same.repeated,
        problems=tuple(problems),
        remarks=(
            *remarks_of(source),
            *_remarks(source, classes, parts, same.repeated),
            *([how_left_out(masks=True)] if unreadable else []),
        ),
    )


def _classes(source: MaskSource, pixels: NDArray[np.int64], parts: NDArray[np.int8]) -> dict[str, ClassPixels]:
    """Returns how often each class occurs; `pixels` are those of each value, by image."""
    of_classes = pixels[:, : len(source.classes)]
    total = max(1, int(of_classes.sum()))
    return {
        name: ClassPixels(by_part(parts[of_classes[:, c] > 0]), float(of_classes[:, c].sum() / total))
        for c, name in enumerate(source.classes)
    }


def _unused(source: MaskSource, number: int) -> str:
    """Returns how many images cannot be used, and what their names are relative to; empty if all can."""
    root = root_of(source)
    below = f" (files below {root})" if root is not None else ""
    return f"{counted(number, len(source.names), masks=True)}{below}" if number else ""


def _parts(parts: NDArray[np.int8]) -> dict[str, NDArray[np.int64]]:
    """Returns the images of each part that has some, as a study divides them: what is undecided is trained on, too."""
    members = {TRAINING: (TRAIN, UNDECIDED), "validation": (VALIDATION,), "test": (TEST,)}
    found = {name: np.flatnonzero(np.isin(parts, kinds)) for name, kinds in members.items()}
    return {name: indices for name, indices in found.items() if len(indices)}


def _remarks(
    source: MaskSource, classes: Mapping[str, ClassPixels], parts: Mapping[str, int], repeated: int
) -> Iterator[str]:
    found = [name for name, each in classes.items() if each.images]
    numbered = source.classes == tuple(map(str, range(len(source.classes))))
    if numbered and 1 < len(found) < len(classes):
        alone = sum(classes[found[-1]].images.values()) == 1
        stray = f"; {found[-1]} is in a single image: is it a class?" if alone else ""
        yield f"of {len(classes):,} classes, {len(found):,} occur: {some(found, 12)}{stray}"
    for part in parts:
        absent = [name for name, found in classes.items() if not found.images.get(part)]
        if absent:
            yield f"{part}: no pixel of {some(absent)}"
    if repeated:
        yield f"{repeated:,} images are the same as another one of their part"
