"""Images in files of their own below a folder: what all sources of that kind share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import decode


class InFiles:
    """Base of sources whose images are files, named by their paths below a folder.

    Attributes:
        names: Those paths, with `/` between folders.
    """

    names: tuple[str, ...]
    _root: Path

    def files(self) -> list[tuple[str, Path]]:
        """Returns every image, named by its path below the folder."""
        return [(name, self._root / name) for name in self.names]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It cannot be read.
            StorageError: The machine cannot read it, now.
        """
        name = self.names[index]
        return decode(self._root / name, name)
