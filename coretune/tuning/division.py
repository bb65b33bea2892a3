"""Who encodes which samples of a batch, where several processes train one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.spec.run import TrainSpec
from coretune.tuning.batching import chunk_sizes

Owners = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Consecutive samples of a batch that are encoded by one call, each by one of the workers.

    Attributes:
        owner: (n,) number of the worker that encodes a sample.
        groups: Sizes of consecutive groups of samples that share batch-norm statistics; they add up to n.
        workers: Number of workers.
        synchronised: Whether workers share the samples of a group, and so its statistics; else each group is encoded
            by one worker as a whole.
    """

    owner: Owners
    groups: tuple[int, ...]
    workers: int
    synchronised: bool

    @property
    def widest(self) -> int:
        """The largest number of samples of a worker."""
        return int(np.bincount(self.owner, minlength=self.workers).max())

    def own(self, rank: int) -> Owners:
        """Returns the samples (m,) of a worker, in ascending order."""
        return np.flatnonzero(self.owner == rank)

    def shares(self, rank: int) -> list[int]:
        """Returns how many samples of each group a worker encodes."""
        return [int(np.count_nonzero(owner == rank)) for owner in self._by_group()]

    def largest_shares(self) -> list[int]:
        """Returns how many samples of each group the worker with most of them encodes."""
        return [int(np.bincount(owner, minlength=1).max()) for owner in self._by_group()]

    def order(self, rank: int) -> tuple[int, int, int]:
        """Returns how many groups are encoded by workers before this one, by this one, by those after it.

        Of meaning where groups are encoded as a whole.
        """
        owners = np.array([owner[0] for owner in self._by_group()])
        return int((owners < rank).sum()), int((owners == rank).sum()), int((owners > rank).sum())

    def places(self, device: torch.device) -> Tensor:
        """Returns (n,) where a sample's row is among all workers' rows, each worker's padded to `widest`."""
        return _places(self, device)

    def rows(self, rank: int, device: torch.device) -> Tensor:
        """Returns `own` as a tensor on a device."""
        return _rows(self, rank, device)

    def regrouped(self, size: int) -> Part:
        """Returns the part of as many samples in another order, in groups of `size`.

        Who has all samples keeps them. Else whole groups go to workers where there are enough of them.
        """
        return _regrouped(self, size)

    def _by_group(self) -> list[Owners]:
        return np.split(self.owner, list(accumulate(self.groups))[:-1])


@dataclass(frozen=True, eq=False)
class Division:
    """A batch of n samples, divided among workers.

    Attributes:
        whole: All of it, in its batch-norm groups.
        parts: Its contrast batches; the samples of one share batch-norm statistics when they are encoded again.
    """

    whole: Part
    parts: tuple[Part, ...]

    def own_sizes(self, rank: int) -> list[int]:
        """Returns how many samples of each contrast batch a worker encodes."""
        return [int(np.count_nonzero(part.owner == rank)) for part in self.parts]


@lru_cache(maxsize=64)
def divide(samples: int, train: TrainSpec, workers: int, *, views: int, regroups: bool = False) -> Division:
    """Divides a batch among workers.

    Whole batch-norm groups go to workers, in order, where a full batch has at least as many of them as there are
    workers: then batch norm needs no communication. Otherwise the workers share each group, and its statistics.

    Args:
        samples: Number of samples n of this batch, which may be the last and smaller one of an epoch.
        train: `batch`, `contrast_batch`, and `bn_group` (by default one contrast batch).
        workers: Number of workers.
        views: Views of each image. Of more than one, contrast batches are encoded again, by themselves, with statistics
            of their own: then no contrast batch is cut where groups are encoded as a whole.
        regroups: Whether they are encoded again in `smaller_groups`, if there are: these may come from anywhere.
    """
    reencodes = views > 1 and not (regroups and smaller_groups(train))
    contrast = tuple(chunk_sizes(samples, train.contrast_batch))
    group = train.contrast_batch if train.bn_group is None else train.bn_group
    groups = tuple(chunk_sizes(samples, group))
    unit = max(group, train.contrast_batch) if reencodes else group
    aligned = unit % group == 0 and (unit % train.contrast_batch == 0 or not reencodes)
    whole = aligned and len(chunk_sizes(max(samples, train.batch), unit)) >= workers
    owner = _in_units(chunk_sizes(samples, unit), workers) if whole else _in_shares(groups, workers)
    parts = [
        Part(owner[end - size : end], (size,), workers, not whole)
        for size, end in zip(contrast, accumulate(contrast), strict=True)
    ]
    return Division(Part(owner, groups, workers, not whole), tuple(parts))


def smaller_groups(train: TrainSpec) -> int | None:
    """Returns the size of batch-norm groups that are smaller than a contrast batch, or None where they are not."""
    return train.bn_group if train.bn_group is not None and train.bn_group < train.contrast_batch else None


def _in_units(units: Sequence[int], workers: int) -> Owners:
    """Gives consecutive units to workers, as evenly as units go."""
    owners = [unit * workers // len(units) for unit in range(len(units))]
    return np.repeat(np.array(owners, dtype=np.int64), units)


def _in_shares(groups: Sequence[int], workers: int) -> Owners:
    """Gives each worker the same share of every group; the first ones get what is left over."""
    return np.concatenate([np.sort(np.arange(size, dtype=np.int64) % workers) for size in groups])


@lru_cache(maxsize=256)
def _regrouped(part: Part, size: int) -> Part:
    groups = tuple(chunk_sizes(len(part.owner), size))
    if len(np.unique(part.owner)) == 1:
        return Part(part.owner, groups, part.workers, False)
    whole = len(groups) >= part.workers
    owner = _in_units(groups, part.workers) if whole else _in_shares(groups, part.workers)
    return Part(owner, groups, part.workers, not whole)


@lru_cache(maxsize=256)
def _places(part: Part, device: torch.device) -> Tensor:
    places = np.empty(len(part.owner), dtype=np.int64)
    for rank in range(part.workers):
        own = part.own(rank)
        places[own] = rank * part.widest + np.arange(len(own))
    return torch.from_numpy(places).to(device)


@lru_cache(maxsize=256)
def _rows(part: Part, rank: int, device: torch.device) -> Tensor:
    return torch.from_numpy(part.own(rank)).to(device)
