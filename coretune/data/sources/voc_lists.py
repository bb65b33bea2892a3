"""What the lists of images with masks name, and which of it is there: VOC's layout, image by image."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from coretune.data.decode import EXTENSIONS
from coretune.data.sources.lists import text_lines
from coretune.data.sources.tree import VOC_IMAGES, VOC_MASKS
from coretune.errors import UnfitError
from coretune.spec.wording import some

LISTS = Path("ImageSets") / "Segmentation"
LAYOUT = (
    f"expected {VOC_IMAGES}/<name>.jpg, {VOC_MASKS}/<name>.png and {LISTS.as_posix()}/<train|val|test>.txt, in it or "
    "at most two folders below it"
)


class Named(NamedTuple):
    """A name in a list.

    Attributes:
        name: The line.
        part: The part that the list is of: TRAIN, VALIDATION, or TEST.
        file: The list.
        line: Its one-based number.
    """

    name: str
    part: int
    file: Path
    line: int


class Item(NamedTuple):
    """An image and its mask.

    Attributes:
        name: Its name in the lists.
        part: TRAIN, VALIDATION, or TEST.
        image: The image's file, or where it should be.
        mask: The mask's file, or where it should be.
        no_image: Why there is no image, or none that can be meant; empty if there is.
        no_mask: Why there is no mask, or none that can be meant; empty if there is.
    """

    name: str
    part: int
    image: Path
    mask: Path
    no_image: str = ""
    no_mask: str = ""


def read_lists(files: Mapping[Path, int]) -> list[Named]:
    """Returns what stands in lists, given the part of each.

    Raises:
        UnfitError: A list cannot be read.
    """
    return [Named(name, part, file, line) for file, part in files.items() for line, name in text_lines(file)]


def repeated(root: Path, named: Sequence[Named]) -> tuple[str, ...]:
    """Returns that names stand in a part more than once, in one line, where some do."""
    again = [f"{each.name} in {_at(root, each)}" for each in _again(named)]
    lines = "1 line repeats" if len(again) == 1 else f"{len(again):,} lines repeat"
    return (f"{lines} a name, which counts once ({some(again, 3)})",) if again else ()


def listed(
    root: Path, named: Sequence[Named], masks: Mapping[str, Path] | None = None, hint: str = ""
) -> tuple[Item, ...]:
    """Returns the images that lists name, sorted by name; of those that are not there, what is missing.

    Args:
        root: The folder of images and masks.
        named: What stands in the lists.
        masks: Masks that lie elsewhere than in `SegmentationClass`, by name.
        hint: What to say of one of these that is not there.

    Raises:
        UnfitError: The folder of images or that of masks cannot be read.
    """
    elsewhere = masks or {}
    images, own = _by_stem(root / VOC_IMAGES), _by_stem(root / VOC_MASKS)
    there = {file for folder in {file.parent for file in elsewhere.values()} for file in folder.iterdir()}
    lines: defaultdict[str, list[Named]] = defaultdict(list)
    for each in named:
        lines[each.name].append(each)

    def item(name: str, stands: list[Named]) -> Item:
        first = stands[0]
        wrong = _misnamed(root, stands, images)
        expected = root / VOC_IMAGES / f"{name}.jpg"
        image, no_image = _file(root, images.get(name, ()), expected, "image", first)
        if name in elsewhere:
            found = [elsewhere[name]] if elsewhere[name] in there else []
            mask, no_mask = _file(root, found, elsewhere[name], "mask", first, hint)
        else:
            mask, no_mask = _file(root, own.get(name, ()), root / VOC_MASKS / f"{name}.png", "mask", first)
        return Item(name, first.part, image, mask, wrong or no_image, wrong or no_mask)

    return tuple(item(name, stands) for name, stands in sorted(lines.items()))


def named_below(root: Path, file: Path) -> str:
    """Returns the name of a file in messages and fingerprints, relative to the folder of images and masks."""
    return Path(os.path.relpath(file, root)).as_posix()


def _again(named: Sequence[Named]) -> Iterator[Named]:
    seen: set[tuple[str, int]] = set()
    for each in named:
        if (each.name, each.part) in seen:
            yield each
        seen.add((each.name, each.part))


def _misnamed(root: Path, stands: Sequence[Named], images: Mapping[str, Sequence[Path]]) -> str:
    """Returns why a name can mean no image: it stands in several parts, or is more than a name."""
    name, first = stands[0].name, stands[0]
    if len({each.part for each in stands}) > 1:
        several = " and ".join(_at(root, each) for each in stands)
        return f"{name}: stands in several lists, {several}; leave it in one"
    meant = Path(name.split()[0]).stem
    if name not in images and meant in images:
        return f"{_at(root, first)}: no image has the name {name}; a line is one name without folder or suffix: {meant}"
    return ""


def _file(
    root: Path, found: Sequence[Path], expected: Path, what: str, named: Named, hint: str = ""
) -> tuple[Path, str]:
    """Returns the file of an image or a mask, and why there is none that can be meant."""
    if len(found) == 1:
        return found[0], ""
    if found:
        return found[0], f"{' and '.join(named_below(root, file) for file in found)}: {len(found)} {what}s of one name"
    return expected, f"{named_below(root, expected)}: there is no such {what}, named in {_at(root, named)}{hint}"


def _at(root: Path, named: Named) -> str:
    return f"{named_below(root, named.file)}:{named.line}"


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
