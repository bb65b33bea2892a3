"""The order of an epoch whose batches hold as many samples of each domain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coretune.data.draws import permutation


class Visit(NamedTuple):
    """In which order an epoch visits its m samples.

    Attributes:
        order: (m,) numbers of the samples in [0, m).
        again: (m,) how often a sample has been visited in the epoch before; None where each is visited once.
    """

    order: NDArray[np.int64]
    again: NDArray[np.int64] | None


def balanced_order(seed: int, epoch: int, domain: NDArray[np.int64]) -> Visit:
    """Returns an order in which the domains take turns: place t is a sample of domain t mod D.

    So any consecutive samples (a batch, a contrast batch, a batch-norm group) hold as many of each domain, but for one.
    An epoch has as many places as there are samples: of a domain that has fewer than its share each is visited again,
    in an order drawn anew, once all have been; a larger one is visited in part, another part in each epoch. DomainBed
    (arXiv 2007.01434) draws its minibatches likewise, the same number from each domain without end; an epoch is ours.

    Args:
        seed: Seed of the run.
        epoch: Zero-based epoch.
        domain: (m,) domain of each sample, in [0, D), none without a sample.
    """
    size, number = len(domain), int(domain.max()) + 1
    order, again = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    for one in range(number):
        members = np.flatnonzero(domain == one)
        places = len(range(one, size, number))
        passes = -(-places // len(members))
        drawn = [
            members[permutation(seed, f"domain {one}, pass {turn}", epoch, len(members))] for turn in range(passes)
        ]
        order[one::number] = np.concatenate([members[:0], *drawn])[:places]
        again[one::number] = np.repeat(np.arange(passes), len(members))[:places]
    return Visit(order, again)
