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
    return _unit(_words(seed, purpose, epoch, (count + 1) // 2), count).reshape(samples, columns)


def sample_uniforms(
    seed: int, purpose: str, epoch: int, samples: NDArray[np.int64], columns: int
) -> NDArray[np.float32]:
    """Returns (m, columns) uniform numbers in [0, 1), multiples of 2**-24, of some samples alone.

    For many numbers of few samples: each sample has a stream of its own, the counter's upper half being its number.
    Its first columns do not change with `columns`. The streams are others than those of `uniforms`.

    Args:
        seed: Seed of the evaluation.
        purpose: What the numbers are for.
        epoch: Zero-based epoch, or another counter.
        samples: (m,) numbers of the samples, ≥ 0.
        columns: Numbers per sample.
    """
    key = derive_seed(seed, f"{purpose}, by sample", epoch)
    found = np.empty((len(samples), columns), np.float32)
    for row, sample in zip(found, samples.tolist() if columns else (), strict=False):
        words = np.random.Philox(key=key, counter=[0, 0, sample, 0]).random_raw((columns + 1) // 2)
        row[:] = _unit(np.asarray(words, dtype=np.uint64), columns)
    return found


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


def _unit(words: NDArray[np.uint64], count: int) -> NDArray[np.float32]:
    """Returns so many numbers in [0, 1), two of each word."""
    values = (words.astype("<u8", copy=False).view("<u4")[:count] >> np.uint32(8)).astype(np.float32)
    values *= np.float32(2.0**-24)
    return values


def _words(seed: int, purpose: str, epoch: int, count: int) -> NDArray[np.uint64]:
    generator = np.random.Philox(key=derive_seed(seed, purpose, epoch))
    return np.asarray(generator.random_raw(count), dtype=np.uint64)
