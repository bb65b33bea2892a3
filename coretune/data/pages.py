"""Which pages of a packed file are read from the disk, where not all of it fits into memory.

The kernel takes a fault in a memory map for the beginning of a long read, and reads on around it. As long as all of the
file stays in memory, that only fills it sooner. Otherwise, of images in random order, it reads much more than is wanted
(14 times as much at 96 pixels, 5 times at 224), and throws out what others would have found. So such a file's images
are asked for one by one, each in whole, before they are touched.
"""

from __future__ import annotations

import mmap
import os
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coretune.results.control_group import memory_limit

SHARE = 0.5
"""Of the memory: a file that is larger than that may not stay in it, beside what trains."""


def fetch(images: NDArray[np.uint8], chosen: NDArray[np.int64]) -> None:
    """Has the kernel read some images of a memory map, all at a time and nothing else; does not wait for it.

    Does nothing where the map fits into memory, or where it is none.

    Args:
        images: (N, H, W, 3).
        chosen: (n,) which will be read soon.
    """
    mapped = images.base
    if not isinstance(mapped, mmap.mmap) or images.nbytes <= SHARE * memory():
        return
    size = images.nbytes // len(images)
    for start in (np.sort(chosen) * size).tolist():
        page = start - start % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, start + size - page)


@lru_cache(maxsize=1)
def memory() -> int:
    """Returns the bytes of memory of this machine, or of this container."""
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()  # the pages of files count against it
    return here if limit is None else min(here, limit[0])
