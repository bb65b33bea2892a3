"""Which images of a source have the content of others, whatever these are called and wherever they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from coretune.results.contents import Contents, contents_of


def contents_among(names: Sequence[str], indices: NDArray[np.int64], hashes: Mapping[str, str]) -> Contents:
    """Returns the contents of some images of a source.

    Args:
        names: Names of all its images.
        indices: Which of them.
        hashes: SHA-256 of its files, by name. Where these are not the images, all of them count.
    """
    if are_files(names, hashes):
        return contents_of((hashes[names[index]] for index in indices), whole=True)
    return contents_of(hashes.values(), whole=False)


def are_among(
    names: Sequence[str], indices: NDArray[np.int64], hashes: Mapping[str, str], others: Contents
) -> NDArray[np.bool_]:
    """Returns whether each of some images of a source has the content of one of others.

    Where a source has many images in a file, a file that both have counts with all of these images.

    Args:
        names: Names of all its images.
        indices: (m,) which of them.
        hashes: SHA-256 of its files, by name.
        others: The others.
    """
    if are_files(names, hashes):
        return others.have(hashes[names[index]] for index in indices)
    return np.full(len(indices), others.have(hashes.values()).any())


def are_files(names: Sequence[str], hashes: Mapping[str, str]) -> bool:
    """Returns whether each image is a file of its own."""
    return all(name in hashes for name in names)


def are_repeated(names: Sequence[str], own: NDArray[np.bool_], hashes: Mapping[str, str]) -> NDArray[np.bool_]:
    """Returns whether each of some images of a source has the content of one of its others.

    Args:
        names: Names of its N images. Of those that are no files of their own, nothing is known, and none is.
        own: (N,) whether each is one of the m images.
        hashes: SHA-256 of its files, by name.

    Returns:
        (m,), in their order.
    """
    indices = np.flatnonzero(own)
    if not are_files(names, hashes):
        return np.zeros(len(indices), dtype=np.bool_)
    return are_among(names, indices, hashes, contents_among(names, np.flatnonzero(~own), hashes))
