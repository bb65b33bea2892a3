"""Your own images without labels: all that lie below a folder, for pre-training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING
from coretune.data.source import UNDECIDED
from coretune.data.sources.in_files import InFiles
from coretune.data.sources.tree import refuse_masks, scan
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters

NO_LABEL = "image"
"""The one class that all of them are of."""


class Images(InFiles):
    """All images below a folder, of one class. Hidden files and files of other kinds are ignored; links are followed.

    Args:
        path: The folder.
        params: How images become squares.

    Raises:
        UnfitError: There is no folder, or no image.
    """

    decoding = f"images/1+{DECODING}"
    classes = (NO_LABEL,)

    def __init__(self, path: Path | None, params: FolderParameters) -> None:
        if path is None or not path.is_dir():
            raise UnfitError(f"{path} is no folder; expected one with images below it")
        self.crop = params.crop
        self._root = path
        tree = scan(path)
        refuse_masks(path, tree)
        self.names = tuple(sorted((*tree.images, *(name for key, t in tree.folders.items() for name in t.below(key)))))
        if not self.names:
            others = f"{tree.others} files of other kinds" if tree.others else "nothing else either"
            raise UnfitError(f"{path}: no image below it (found {others})")
        self.labels: NDArray[np.int64] = np.zeros(len(self.names), dtype=np.int64)
        self.parts: NDArray[np.int8] = np.full(len(self.names), UNDECIDED, dtype=np.int8)


def lies_in_no_classes(path: Path) -> bool:
    """Returns whether a folder's images cannot be a folder per class: some lie in it itself, or all in one folder."""
    tree = scan(path)
    return bool(tree.images) or len(tree.folders) == 1
