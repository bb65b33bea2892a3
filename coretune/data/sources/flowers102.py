"""Oxford Flowers, 102 kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coretune.data.source import TEST, TRAIN, VALIDATION, Source
from coretune.data.sources.layouts import Original, open_set
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.lists import matlab
from coretune.errors import UnfitError
from coretune.spec.frozen import Frozen

PARTS = {"trnid": TRAIN, "valid": VALIDATION, "tstid": TEST}
CLASSES = tuple(str(number) for number in range(1, 103))
"""The archive numbers the kinds and does not name them."""


def flowers102(path: Path | None, params: Frozen) -> Source:
    """Opens Oxford Flowers-102 (Nilsback and Zisserman, ICVGIP 2008).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    return open_set("flowers102", path, [Original("imagelabels.mat", _original)])


def _original(root: Path) -> Source:
    labels = np.atleast_1d(matlab(root / "imagelabels.mat", "labels")["labels"]).astype(np.int64)
    numbers = matlab(root / "setid.mat", *PARTS)
    images = []
    for name, part in PARTS.items():
        for number in np.atleast_1d(numbers[name]).astype(np.int64).tolist():
            if not 1 <= number <= len(labels) or not 1 <= labels[number - 1] <= len(CLASSES):
                raise UnfitError(
                    f"{root / 'setid.mat'}: image {number} of {name} has no label from 1 to {len(CLASSES)}"
                )
            images.append(Listed(f"jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1, part))
    lists = [root / "imagelabels.mat", root / "setid.mat"]
    return ImageFiles(root, images, CLASSES, reading="flowers102/1", lists=lists)
