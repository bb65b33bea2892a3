"""CIFAR-100, with its fine labels."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import TEST, TRAIN, Source
from coretune.data.sources.cifar import Archive, CifarArchive
from coretune.data.sources.layouts import Original, open_set
from coretune.spec.frozen import Frozen

PICKLES = Archive({"train": TRAIN, "test": TEST}, "meta", key=("fine_labels", "fine_label_names"))
BINARY = Archive({"train.bin": TRAIN, "test.bin": TEST}, "fine_label_names.txt", columns=2)


def cifar100(path: Path | None, params: Frozen) -> Source:
    """Opens CIFAR-100 (Krizhevsky, 2009).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: The files are absent or not as expected, or they are another data set's.
    """
    return open_set(
        "cifar100",
        path,
        [
            Original("meta", lambda root: CifarArchive(root, PICKLES)),
            Original("fine_label_names.txt", lambda root: CifarArchive(root, BINARY)),
        ],
        label_columns=("fine_label",),
    )
