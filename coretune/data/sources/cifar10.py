"""CIFAR-10."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import TEST, TRAIN, Source
from coretune.data.sources.cifar import Archive, CifarArchive
from coretune.data.sources.layouts import Original, absent, open_set
from coretune.data.sources.parquet import Parquet
from coretune.errors import UnfitError
from coretune.spec.catalog.image_sets import image_set
from coretune.spec.frozen import Frozen

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PICKLES = Archive(
    {**{f"data_batch_{number}": TRAIN for number in range(1, 6)}, "test_batch": TEST},
    "batches.meta",
    key=("labels", "label_names"),
)
BINARY = Archive(
    {**{f"data_batch_{number}.bin": TRAIN for number in range(1, 6)}, "test_batch.bin": TEST},
    "batches.meta.txt",
    columns=1,
)


def cifar10(path: Path | None, params: Frozen) -> Source:
    """Opens CIFAR-10 (Krizhevsky, 2009), or a part of its images: ten classes, and an official test part.

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: The files are absent or not as expected, or they are another data set's.
    """
    source = open_set(
        "cifar10",
        path,
        [
            Original("data_batch_1", lambda root: CifarArchive(root, PICKLES)),
            Original("data_batch_1.bin", lambda root: CifarArchive(root, BINARY)),
        ],
    )
    if isinstance(source, Parquet) and source.classes == tuple(map(str, range(len(CLASSES)))):
        source.classes = CLASSES
    if source.classes != CLASSES:
        raise UnfitError(
            f"{path}: the classes are {', '.join(source.classes)}; expected those of CIFAR-10: {', '.join(CLASSES)}"
        )
    if not isinstance(source, CifarArchive) and not (source.parts == TEST).any():
        raise absent(image_set("cifar10"), f"{path}: no test part")
    return source
