"""Whether masks tell anything that can be learned and measured: the rule of training, and of `coretune data check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from coretune.data.masks import VOID

TRAINING = "training"
"""The part that needs two classes at least; the others need a pixel of any."""


def unlearnable(
    counts: NDArray[np.int64], parts: Mapping[str, NDArray[np.int64]], classes: Sequence[str]
) -> Iterator[str]:
    """Yields why nothing can be learned or measured.

    Args:
        counts: (N, C) pixels of each class, by image.
        parts: Indices of the images of each part, by its name.
        classes: Names of the C classes.
    """
    for name, indices in parts.items():
        seen = np.flatnonzero(counts[indices].any(axis=0))
        if not len(indices):
            yield f"no image in the {name} part"
        elif not len(seen):
            yield f"no pixel of any class in the {len(indices):,} masks of the {name} part: all are {VOID}, void"
        elif len(seen) == 1 and name == TRAINING:
            white = f"; in black-and-white masks, write white as 1: {VOID} is void" if seen[0] == 0 else ""
            yield f"all pixels of the {name} part are of class {classes[seen[0]]} or void: nothing to tell apart{white}"
