"""CIFAR-10 as Hugging Face parquet."""

from __future__ import annotations

from pathlib import Path

from coretune.data.roots import DATA_VARIABLE
from coretune.data.source import TEST
from coretune.data.sources.parquet import Parquet
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import ParquetParameters
from coretune.spec.frozen import Frozen

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LAYOUT = (
    "expected CIFAR-10 as Hugging Face parquet: train*.parquet and test*.parquet with the columns img (or image) and "
    "label, in it or in one folder below it"
)


class Cifar10(Parquet):
    """CIFAR-10 (Krizhevsky, 2009), or a part of its images: ten classes, and an official test part.

    Args:
        path: A folder of parquet files.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: The files are absent or not as expected, or they are another data set's.
    """

    def __init__(self, path: Path | None, params: Frozen) -> None:
        if path is None:
            raise UnfitError(f"no path of cifar10 is given, and ${DATA_VARIABLE}/cifar10 does not exist; {LAYOUT}")
        super().__init__(path, ParquetParameters())
        if self.classes == tuple(str(label) for label in range(len(CLASSES))):
            self.classes = CLASSES
        if self.classes != CLASSES:
            raise UnfitError(
                f"{path}: the classes are {', '.join(self.classes[:20])}; expected those of CIFAR-10: "
                f"{', '.join(CLASSES)}"
            )
        if not (self.parts == TEST).any():
            raise UnfitError(f"{path}: no test part; {LAYOUT}")
