"""How many samples go together."""

from __future__ import annotations


def chunk_sizes(samples: int, size: int) -> list[int]:
    """Returns the sizes of consecutive chunks: all `size`, the last perhaps smaller, none of a single sample.

    A remainder of one joins the chunk before it, since one sample has neither a pair nor batch statistics. A chunk of
    one is left only where there is nothing to join: a single sample in all, or `size` 1.

    Args:
        samples: Number of samples, at least 0.
        size: Samples per chunk, at least 1.
    """
    sizes = [size] * (samples // size)
    rest = samples % size
    if rest == 1 and sizes and size > 1:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes
