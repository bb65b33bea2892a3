from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.spec.run import TrainSpec
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.division import Division, Part, divide


def division(
    samples: int,
    batch: int,
    contrast_batch: int,
    bn_group: int | None,
    workers: int,
    reencodes: bool = False,
    regroups: bool = False,
) -> Division:
    train = TrainSpec(epochs=1, batch=batch, contrast_batch=contrast_batch, bn_group=bn_group, lr=0.1)
    return divide(samples, train, workers, views=2 if reencodes else 1, regroups=regroups)


@given(
    contrast=st.integers(1, 9),
    batches=st.integers(1, 5),
    bn_group=st.none() | st.integers(2, 20),
    workers=st.integers(1, 5),
    reencodes=st.booleans(),
    data=st.data(),
)
def test_every_sample_has_a_worker_and_groups_keep_their_sizes(
    contrast: int, batches: int, bn_group: int | None, workers: int, reencodes: bool, data: st.DataObject
) -> None:
    batch = contrast * batches
    samples = data.draw(st.integers(1, batch + 1))
    found = division(samples, batch, contrast, bn_group, workers, reencodes)
    whole = found.whole
    assert len(whole.owner) == samples and whole.owner.min() >= 0 and whole.owner.max() < workers
    assert list(whole.groups) == chunk_sizes(samples, contrast if bn_group is None else bn_group)
    assert [len(part.owner) for part in found.parts] == chunk_sizes(samples, contrast)
    assert np.array_equal(np.concatenate([part.owner for part in found.parts]), whole.owner)
    shares = np.array([whole.shares(rank) for rank in range(workers)])
    assert shares.sum(axis=0).tolist() == list(whole.groups)
    if whole.synchronised:
        assert (shares.max(axis=0) - shares.min(axis=0)).max() <= 1
        assert whole.largest_shares() == shares.max(axis=0).tolist()
    else:
        assert set(np.unique(shares / np.array(whole.groups))) <= {0.0, 1.0}
        assert [whole.order(rank)[1] for rank in range(workers)] == (shares > 0).sum(axis=1).tolist()
        assert all(sum(whole.order(rank)) == len(whole.groups) for rank in range(workers))
        assert (np.diff(whole.owner) >= 0).all()
        if reencodes:
            assert all(len(np.unique(part.owner)) == 1 for part in found.parts)
    for rank in range(workers):
        assert found.own_sizes(rank) == [len(part.own(rank)) for part in found.parts]


@pytest.mark.parametrize(
    ("contrast", "bn_group", "workers", "reencodes", "synchronised"),
    [
        (64, None, 4, False, False),  # the paper's 256 and 64
        (64, None, 5, False, True),
        (64, 32, 8, False, False),
        (64, 32, 8, True, True),  # half a contrast batch would be encoded again on its own
        (64, 32, 4, True, False),
        (64, 128, 2, True, False),
        (256, None, 2, False, True),
        (64, 96, 2, False, False),
        (64, 96, 2, True, True),
    ],
)
def test_whole_groups_go_to_workers_where_there_are_enough(
    contrast: int, bn_group: int | None, workers: int, reencodes: bool, synchronised: bool
) -> None:
    assert division(256, 256, contrast, bn_group, workers, reencodes).whole.synchronised == synchronised


def test_groups_that_are_put_together_anew_may_come_from_several_workers() -> None:
    found = division(256, 256, 256, 32, 8, reencodes=True, regroups=True)
    assert not found.whole.synchronised, "a worker's own groups need no other worker, as on MoCo's eight GPUs"
    assert [len(found.whole.own(rank)) for rank in range(8)] == [32] * 8
    assert division(256, 256, 256, None, 8, reencodes=True, regroups=True).whole.synchronised
    assert division(256, 256, 64, 128, 4, reencodes=True, regroups=True).whole.synchronised, "no smaller groups"


@given(n=st.integers(1, 40), size=st.integers(2, 12), workers=st.integers(1, 5), alone=st.booleans())
def test_regrouped_samples_have_a_worker_each_and_whole_groups_where_they_can(
    n: int, size: int, workers: int, alone: bool
) -> None:
    owner = np.full(n, workers - 1) if alone else np.arange(n) % workers
    part = Part(owner, (n,), workers, not alone)
    found = part.regrouped(size)
    assert list(found.groups) == chunk_sizes(n, size) and len(found.owner) == n
    assert found.owner.min() >= 0 and found.owner.max() < workers
    assert found is part.regrouped(size), "made once: what is laid out for it on a device is kept"
    if len(np.unique(owner)) == 1:
        assert found.owner is owner and not found.synchronised
    else:
        assert found.synchronised == (len(found.groups) < workers)
    if not found.synchronised:
        assert found.largest_shares() == list(found.groups)


def test_groups_are_spread_evenly() -> None:
    found = division(256, 256, 32, None, 3)
    assert sorted(len(found.whole.own(rank)) for rank in range(3)) == [64, 96, 96]
    assert found.whole.widest == 96


def test_a_small_last_batch_leaves_workers_idle() -> None:
    found = division(40, 256, 32, None, 4).whole
    assert [len(found.own(rank)) for rank in range(4)] == [32, 0, 8, 0]
    assert not found.synchronised
