"""Images and masks in parquet files, as the Hugging Face hub keeps them: two columns of image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import DECODING, decode_bytes, image_size
from coretune.data.masks import MASKING, decode_mask
from coretune.data.source import TEST, VALIDATION
from coretune.data.sources.parquet_files import find
from coretune.data.sources.row_groups import RowGroups
from coretune.data.sources.shard import ImageColumn
from coretune.errors import UnfitError

MASKS = ("mask", "label", "annotation", "segmentation_mask", "semantic_mask", "segmentation")


class MaskParquet:
    """Images of parquet files: a column of image files and one of mask files (binary, or struct with `bytes`).

    Args:
        path: A folder, or a single file.
        classes: Names of the classes.
        validation_is_test: Whether the validation part is the official test part.

    Raises:
        UnfitError: No files or columns as expected; the message says which file.
    """

    def __init__(self, path: Path, classes: Sequence[str], *, validation_is_test: bool) -> None:
        files = find(path).files
        self._images = [ImageColumn(file, None, parameter="") for file in files]
        self._masks = [ImageColumn(file, None, MASKS, "masks", parameter="") for file in files]
        self.classes = tuple(classes)
        parts = [TEST if validation_is_test and file.part == VALIDATION else file.part for file in files]
        counts = [sum(shard.groups) for shard in self._images]
        self.parts: NDArray[np.int8] = np.repeat(np.array(parts, dtype=np.int8), counts)
        self.names = tuple(
            f"{file.name}/{row:06d}" for file, count in zip(files, counts, strict=True) for row in range(count)
        )
        columns = f"{self._images[0].image!r}:{self._masks[0].image!r}"
        self.decoding = f"mask_parquet/1:{columns}+{MASKING}+{DECODING}:{len(classes)}"
        self._image_groups, self._mask_groups = RowGroups(self._images), RowGroups(self._masks)

    def files(self) -> list[tuple[str, Path]]:
        """Returns the parquet files."""
        return [(shard.name, shard.path) for shard in self._images]

    def size(self, index: int) -> tuple[int, int]:
        """Returns height and width of an image by its header; zeros where it cannot be read."""
        content = self._image_groups.content(index)
        return (0, 0) if content is None else image_size(content)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It is null or cannot be read.
        """
        return decode_bytes(self._content(self._image_groups, index, self._images[0].image), self.names[index])

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Returns the values of one mask, (H, W).

        Raises:
            UnfitError: It is null or cannot be read.
        """
        column = self._masks[0].image
        return decode_mask(self._content(self._mask_groups, index, column), f"{column} of {self.names[index]}")

    def _content(self, groups: RowGroups, index: int, column: str) -> bytes:
        content = groups.content(index)
        if content is None:
            raise UnfitError(f"{self.names[index]}: null; expected the content of an image file in column {column}")
        return content
