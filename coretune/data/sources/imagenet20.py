"""ImageNet20: Imagenette and Imagewoof side by side."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import TEST, TRAIN, Source
from coretune.data.sources.layouts import absent, folders_in, found_in, open_set
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.tree import scan
from coretune.spec.catalog.image_sets import image_set
from coretune.spec.frozen import Frozen

IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
IMAGEWOOF = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle",
    "n02089973": "English foxhound",
    "n02093754": "border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "dingo",
}
NAMES = {**IMAGENETTE, **IMAGEWOOF}
"""English names by WordNet id; the classes are in the order of the ids."""

PARTS = {"train": TRAIN, "val": TEST}


def imagenet20(path: Path | None, params: Frozen) -> Source:
    """Opens Imagenette and Imagewoof (Howard, 2019) as one set of twenty classes.

    Args:
        path: A folder of both.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    halves = _halves(path) if path is not None else {}
    if path is None or not halves:
        return open_set("imagenet20", path, [])
    for name, half in (("imagenette2", IMAGENETTE), ("imagewoof2", IMAGEWOOF)):
        missing = [wnid for wnid in half if not any((root / part / wnid).is_dir() for root in halves for part in PARTS)]
        if missing:
            raise absent(
                image_set("imagenet20"),
                f"{path}: no folders of {name} ({len(missing)} of 10 classes, e.g. {missing[0]}): {found_in(path)}",
            )
    ids = sorted(NAMES)
    images = [
        Listed(f"{half}{part}/{name}", ids.index(wnid), number)
        for root, half in halves.items()
        for part, number in PARTS.items()
        for wnid, below in scan(root / part).folders.items()
        if wnid in NAMES
        for name in below.below(wnid)
    ]
    return ImageFiles(path, images, [NAMES[wnid] for wnid in ids], reading="imagenet20/1")


def _halves(path: Path) -> dict[Path, str]:
    """Returns the folders with train/<WordNet id> in them, and what their paths begin with below the path."""
    found = {}
    for root in (path, *folders_in(path)):
        if any((root / "train" / wnid).is_dir() for wnid in NAMES):
            found[root] = "" if root == path else f"{root.name}/"
    return found
