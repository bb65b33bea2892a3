"""Oxford-IIIT Pets, by breed."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import TEST, TRAIN, Source
from coretune.data.sources.layouts import Original, open_set
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.lists import text_lines
from coretune.errors import UnfitError
from coretune.spec.frozen import Frozen

LISTS = {"trainval.txt": TRAIN, "test.txt": TEST}
LINE = "expected <breed>_<number> <class> <species> <breed of the species>, e.g. Abyssinian_100 1 1 1"


def pets(path: Path | None, params: Frozen) -> Source:
    """Opens Oxford-IIIT Pets (Parkhi et al., CVPR 2012).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    return open_set("pets", path, [Original("annotations/trainval.txt", _original)])


def _original(root: Path) -> Source:
    breeds: dict[int, str] = {}
    images = []
    for name, part in LISTS.items():
        file = root / "annotations" / name
        for number, line in text_lines(file):
            image, label = _parsed(line, f"{file}:{number}")
            breed = image.rpartition("_")[0]
            if breeds.setdefault(label, breed) != breed:
                raise UnfitError(f"{file}:{number}: class {label + 1} is {breeds[label]} and {breed}")
            images.append(Listed(f"images/{image}.jpg", label, part))
    if sorted(breeds) != list(range(len(breeds))):
        raise UnfitError(f"{root / 'annotations'}: the classes are not numbered from 1 to {len(breeds)}")
    lists = [root / "annotations" / name for name in LISTS]
    return ImageFiles(root, images, [breeds[label] for label in sorted(breeds)], reading="pets/1", lists=lists)


def _parsed(line: str, where: str) -> tuple[str, int]:
    words = line.split()
    if len(words) != 4 or not words[1].isdecimal() or int(words[1]) < 1 or "_" not in words[0]:
        raise UnfitError(f"{where}: {line!r}; {LINE}")
    return words[0], int(words[1]) - 1
