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
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from coretune.results.files import put_atomic

Indices = NDArray[np.int64]

COLUMNS = ("level", "by", "tied", "drawn")
"""Of a row: the level and the attack, as in `Outcome`; whether rounding decides the class; whether output is random."""


IMAGES = ".safetensors"
"""How the file of a block's adversarial images ends."""

Rows = dict[int, list[int]]
Images = dict[int, NDArray[np.generic]]


@dataclass(frozen=True)
class Kept:
    """Rows of images that are done, and the adversarial images where they are asked for.

    Attributes:
        folder: Where they are kept, a file per block; None: they are not.
        mark: What tells the model that was attacked from others.
        images: Whether adversarial images are kept, too; then a block without them does not count.
    """

    folder: Path | None = None
    mark: str = ""
    images: bool = False

    @classmethod
    def of(cls, folder: Path | None, model: nn.Module, *, images: bool = False) -> Kept:
        """Returns what is kept of this very model: weights that were trained again make other rows."""
        return cls(folder, "" if folder is None else fingerprint(model), images)

    def read(self) -> tuple[Rows, Images]:
        """Returns the rows that are kept and their images (H, W, 3), by the image's number.

        A file that cannot be read counts as absent, with all of its block.
        """
        rows, images = Rows(), Images()
        for path in sorted(self.folder.glob("*.json")) if self.folder is not None else ():
            try:
                found = self._rows(path)
                pictures = self._images(path, found) if self.images else {}
            except (OSError, ValueError, AttributeError, KeyError, TypeError, SafetensorError):
                continue
            rows |= found
            images |= pictures
        return rows, images

    def put(self, index: Indices, rows: Tensor, images: Tensor | None = None) -> None:
        """Keeps a block.

        Args:
            index: (n,) numbers of its images, at least one.
            rows: (n, 4) their rows.
            images: (n, H, W, 3) the adversarial images, where they are kept.

        Raises:
            StorageError: It cannot be written.
        """
        if self.folder is None:
            return
        path = self.folder / f"{index[0]}-{len(index)}.json"
        if images is not None:  # before the rows, which say that the block is done
            values = {"images": np.ascontiguousarray(images.numpy()), "index": np.asarray(index, np.int64)}
            put_atomic(path.with_suffix(IMAGES), save(values, metadata={"mark": self.mark}))
        block = dict(zip(map(str, index.tolist()), rows.long().tolist(), strict=True))
        put_atomic(path, json.dumps({self.mark: block}).encode())

    def _rows(self, path: Path) -> Rows:
        block = json.loads(path.read_bytes())[self.mark]
        rows = {int(index): [int(value) for value in row] for index, row in block.items()}
        return {index: row for index, row in rows.items() if len(row) == len(COLUMNS)}

    def _images(self, path: Path, rows: Rows) -> Images:
        with safe_open(path.with_suffix(IMAGES), framework="numpy") as file:
            mark, index, images = file.metadata()["mark"], file.get_tensor("index"), file.get_tensor("images")
        if mark != self.mark or index.tolist() != list(rows):
            raise ValueError(f"{path.with_suffix(IMAGES)} is of another block")
        return dict(zip(index.tolist(), images, strict=True))


def fingerprint(model: nn.Module) -> str:
    """Returns a hash of a model's weights and buffers."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def rows_of(known: Rows, index: Sequence[int]) -> Tensor:
    """Returns the rows (n, 4) of some images, all of them known, as float32."""
    return torch.tensor([known[image] for image in index], dtype=torch.float32).view(-1, len(COLUMNS))
