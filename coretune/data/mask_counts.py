"""How many pixels of each class the masks of a pack have: counted once, and kept beside the pack."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from numpy.typing import NDArray

from coretune.data.mask_pack import PackedMasks
from coretune.data.masks import VOID
from coretune.errors import StorageError
from coretune.results.files import put_atomic

COUNTS = "counts.npy"


def pixel_counts(packed: PackedMasks) -> NDArray[np.int64]:
    """Returns (N, C) how many pixels of each class each mask has; zeros for an image that cannot be read.

    A pack on a disk that cannot be written to is counted again each time.
    """
    shape = (len(packed.names), len(packed.classes))
    file = packed.folder / COUNTS
    with contextlib.suppress(OSError, ValueError, EOFError):
        found = np.load(file, allow_pickle=False)
        if found.dtype == np.int64 and found.shape == shape:
            return np.asarray(found, dtype=np.int64)
    counts = np.zeros(shape, dtype=np.int64)
    for index in sorted(set(range(shape[0])) - {item.image for item in packed.unreadable}):
        counts[index] = np.bincount(packed[index][1].ravel(), minlength=VOID + 1)[: shape[1]]
    content = io.BytesIO()
    np.save(content, counts)
    with contextlib.suppress(StorageError):
        put_atomic(file, content.getvalue(), durable=False)
    return counts
