"""Counter-based random numbers on the CPU: a sample's numbers depend on (seed, purpose, epoch, sample) alone.

Philox4x64 (Salmon et al., SC 2011) is keyed by a hash of (seed, purpose, epoch) and read from its start. Only its
raw 64-bit words are used, whose values numpy guarantees across versions and platforms; the distributions of
`numpy.random.Generator` carry no such promise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coretune.spec.seeds import derive_seed


def uniforms(seed: int, purpose: str, epoch: int, samples: int, columns: int) -> NDArray[np.float32]:
    """Returns (samples, columns) uniform numbers in [0, 1), multiples of 2**-24.

    Row i belongs to sample i whatever the batch, worker or device, and does not change with `samples`.

    Args:
        seed: Seed of the run.
        purpose: What the numbers are for; streams of different purposes are independent.
        epoch: Zero-based epoch.
        samples: Number of rows.
        columns: Numbers per sample.
    """
    count = samples * columns
    words = _words(seed, purpose, epoch, (count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
    values = (words >> np.uint32(8)).astype(np.float32)
    values *= np.float32(2.0**-24)
    return values.reshape(samples, columns)


def order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """Returns the order in which an epoch visits its n samples: a uniform permutation, (n,)."""
    return permutation(seed, "order", epoch, n)


def permutation(seed: int, purpose: str, epoch: int, n: int) -> NDArray[np.int64]:
    """Returns a uniform permutation of range(n), (n,), of its own stream.

    Args:
        seed: Seed of the run, split or subset.
        purpose: What it is for.
        epoch: Zero-based epoch, or another counter.
        n: Number of elements.
    """
    return np.argsort(_words(seed, purpose, epoch, n), kind="stable").astype(np.int64, copy=False)


def _words(seed: int, purpose: str, epoch: int, count: int) -> NDArray[np.uint64]:
    generator = np.random.Philox(key=derive_seed(seed, purpose, epoch))
    return np.asarray(generator.random_raw(count), dtype=np.uint64)
