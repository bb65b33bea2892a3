"""What became of images so far: kept on disk block by block, so that a killed evaluation goes on where it was.

What an attack does to an image depends on no other image, so that it does not matter which worker found it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coretune.results.files import put_atomic

Indices = NDArray[np.int64]

COLUMNS = ("level", "by", "tied", "drawn")
"""Of a row: the level and the attack, as in `Outcome`; whether rounding decides the class; whether output is random."""


@dataclass(frozen=True)
class Kept:
    """Rows of images that are done.

    Attributes:
        folder: Where they are kept, a file per block; None: they are not.
        mark: What tells the model that was attacked from others.
    """

    folder: Path | None = None
    mark: str = ""

    @classmethod
    def of(cls, folder: Path | None, model: nn.Module) -> Kept:
        """Returns what is kept of this very model: weights that were trained again make other rows."""
        return cls(folder, "" if folder is None else fingerprint(model))

    def read(self) -> dict[int, list[int]]:
        """Returns the rows that are kept, by the image's number. A file that cannot be read counts as absent."""
        found: dict[int, list[int]] = {}
        for path in sorted(self.folder.glob("*.json")) if self.folder is not None else ():
            try:
                block = json.loads(path.read_bytes())
                rows = {int(index): [int(value) for value in row] for index, row in block[self.mark].items()}
            except (OSError, ValueError, AttributeError, KeyError, TypeError):
                continue
            found |= {index: row for index, row in rows.items() if len(row) == len(COLUMNS)}
        return found

    def put(self, index: Indices, rows: Tensor) -> None:
        """Keeps a block.

        Args:
            index: (n,) numbers of its images, at least one.
            rows: (n, 4) their rows.

        Raises:
            StorageError: It cannot be written.
        """
        if self.folder is None:
            return
        block = dict(zip(map(str, index.tolist()), rows.long().tolist(), strict=True))
        put_atomic(self.folder / f"{index[0]}-{len(index)}.json", json.dumps({self.mark: block}).encode())


def fingerprint(model: nn.Module) -> str:
    """Returns a hash of a model's weights and buffers."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def rows_of(known: dict[int, list[int]], index: Sequence[int]) -> Tensor:
    """Returns the rows (n, 4) of some images, all of them known, as float32."""
    return torch.tensor([known[image] for image in index], dtype=torch.float32).view(-1, len(COLUMNS))
