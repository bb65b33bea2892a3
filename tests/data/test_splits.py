from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION
from coretune.data.splits import Split, even_shares, long_tail, shares, split
from coretune.errors import RequestError, UnfitError
from coretune.spec.components import Ref
from coretune.spec.run import DataSpec


def spec(**changes: Any) -> DataSpec:
    base: dict[str, Any] = {"validation": 0.1, "test": 0.2, "image_size": 8, "fingerprint": "0" * 64}
    return DataSpec(dataset=Ref(name="folder", version=1), **{**base, **changes})


def labels_of(counts: list[int], seed: int = 0) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels).astype(np.int64)


def undecided(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), UNDECIDED, dtype=np.int8)


def check_complete(found: Split, n: int) -> None:
    parts = [found.train, found.validation, found.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    for part in (*parts, found.labelled):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert np.isin(found.labelled, found.train).all()


@given(
    st.lists(st.integers(6, 40), min_size=2, max_size=8),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(0, 2**40),
)
def test_drawn_parts_are_disjoint_complete_exact_and_stratified(
    counts: list[int], validation: int, test: int, seed: int
) -> None:
    assume(validation + test <= sum(counts) // 2)
    labels = labels_of(counts, seed % 1000)
    found = split(labels, undecided(labels), spec(validation=validation, test=test, split_seed=seed))
    check_complete(found, len(labels))
    assert (len(found.validation), len(found.test)) == (validation, test)
    n = np.bincount(labels)
    in_test = np.bincount(labels[found.test], minlength=len(n))
    in_validation = np.bincount(labels[found.validation], minlength=len(n))
    assert np.abs(in_test - n * test / n.sum()).max() < 1
    rest = n - in_test
    assert np.abs(in_validation - rest * validation / rest.sum()).max() < 1
    again = split(labels, undecided(labels), spec(validation=validation, test=test, split_seed=seed))
    for name in ("train", "labelled", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.data())
def test_shares_add_up_and_round_each_exact_share(sizes: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(sizes)))
    counts = shares(sizes, total)
    assert sum(counts) == total
    for size, count in zip(sizes, counts, strict=True):
        assert abs(count - total * size / max(1, sum(sizes))) < 1 + 1e-6
        assert 0 <= count <= size


def test_shares_by_hand_and_beyond_the_whole() -> None:
    assert shares([5, 3, 2], 5) == [3, 1, 1]  # 2.5, 1.5, 1.0: the first tie takes the fifth
    assert shares([1, 1, 98], 2) == [0, 0, 2]
    with pytest.raises(ValueError, match="cannot take 4 of 3"):
        shares([1, 2], 4)


@given(st.integers(1, 6), st.integers(0, 2**40))
def test_labelled_subset_is_balanced_nested_and_inside_train(k: int, seed: int) -> None:
    labels = labels_of([20, 15, 12])
    found = split(labels, undecided(labels), spec(labels_per_class=k, subset_seed=seed))
    check_complete(found, len(labels))
    assert np.bincount(labels[found.labelled]).tolist() == [k, k, k]
    more = split(labels, undecided(labels), spec(labels_per_class=k + 1, subset_seed=seed))
    assert np.isin(found.labelled, more.labelled).all()
    np.testing.assert_array_equal(found.test, more.test)


def test_every_image_of_a_class_is_equally_likely_to_be_labelled() -> None:
    labels = labels_of([10, 10])
    chosen = np.zeros(20)
    for seed in range(600):
        chosen[split(labels, undecided(labels), spec(labels_per_class=2, subset_seed=seed)).labelled] += 1
    train = split(labels, undecided(labels), spec()).train
    frequency = chosen[train] / 600
    assert np.abs(frequency - 2 / 7).max() < 0.08  # 7 of 10 are training images; four standard errors


def test_subsets_of_different_seeds_differ_while_the_parts_stay() -> None:
    labels = labels_of([50, 50])
    subsets = [split(labels, undecided(labels), spec(labels_per_class=5, subset_seed=seed)) for seed in range(6)]
    assert len({tuple(found.labelled.tolist()) for found in subsets}) == 6
    assert len({tuple(found.test.tolist()) for found in subsets}) == 1
    moved = split(labels, undecided(labels), spec(split_seed=1))
    assert moved.test.tolist() != subsets[0].test.tolist()


def test_a_larger_validation_part_leaves_the_test_part_alone() -> None:
    labels = labels_of([40, 40])
    small, large = (split(labels, undecided(labels), spec(validation=size)) for size in (0.1, 0.3))
    np.testing.assert_array_equal(small.test, large.test)
    assert np.isin(small.validation, large.validation).all()


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, [14, 7, 4]), (0.01, [1, 1, 1]), (1.0, [28, 14, 7])])
def test_label_fraction_is_stratified_and_leaves_no_class_out(fraction: float, expected: list[int]) -> None:
    labels = labels_of([40, 20, 10])
    found = split(labels, undecided(labels), spec(label_fraction=fraction))
    assert np.bincount(labels[found.train]).tolist() == [28, 14, 7]
    counts = np.bincount(labels[found.labelled])
    assert np.abs(counts - expected).max() <= 1
    assert counts.min() >= 1


def test_official_parts_stay_and_only_what_is_missing_is_drawn() -> None:
    labels = labels_of([30, 30])
    parts = np.full(60, TRAIN, dtype=np.int8)
    parts[:10] = TEST
    found = split(labels, parts, spec(validation=0.1, test=0.5))
    check_complete(found, 60)
    assert found.test.tolist() == list(range(10))
    assert len(found.validation) == 5  # a tenth of the 50 that are left
    parts[10:14] = VALIDATION
    both = split(labels, parts, spec(validation=0.9, test=0.9))
    assert both.validation.tolist() == [10, 11, 12, 13]
    assert both.train.tolist() == list(range(14, 60))


def test_split_does_not_depend_on_global_random_state() -> None:
    labels = labels_of([20, 20])
    np.random.seed(0)
    first = split(labels, undecided(labels), spec(labels_per_class=3))
    np.random.seed(1)
    second = split(labels, undecided(labels), spec(labels_per_class=3))
    np.testing.assert_array_equal(first.labelled, second.labelled)
    np.testing.assert_array_equal(first.test, second.test)


def test_split_is_pinned_for_ever() -> None:
    """Recorded runs depend on these indices."""
    labels = np.arange(40) % 2
    found = split(labels, undecided(labels), spec(labels_per_class=2, split_seed=3, subset_seed=5))
    assert found.validation.tolist() == [6, 11, 18, 35]
    assert found.test.tolist() == [0, 7, 12, 21, 24, 27, 28, 29]
    assert found.labelled.tolist() == [4, 10, 15, 39]


def test_a_class_with_too_few_images_is_named() -> None:
    labels = labels_of([20, 4])
    with pytest.raises(
        RequestError, match=r"^data\.labels_per_class: must be at most 3, got 5: too few .* heron \(3 of 5\)"
    ):
        split(labels, undecided(labels), spec(labels_per_class=5), classes=("crow", "heron"))
    parts = np.where(labels == 1, TEST, TRAIN).astype(np.int8)
    with pytest.raises(UnfitError, match=r"too few images .* heron \(0 of 1\)"):
        split(labels, parts, spec(), classes=("crow", "heron"))
    with pytest.raises(
        RequestError, match=r"^data\.validation and data\.test: too large: .* of 1 class: heron \(0 of 1\)"
    ):
        labels = labels_of([20, 1])
        split(labels, undecided(labels), spec(validation=10, test=10), classes=("crow", "heron"))


@pytest.mark.parametrize("sizes", [{"validation": 12, "test": 12}, {"validation": 0.5, "test": 0.5}, {"test": 500}])
def test_nothing_left_to_train_on(sizes: dict[str, Any]) -> None:
    labels = labels_of([12, 12])
    with pytest.raises(RequestError, match=r"data\.test \(.* leave none to train on; together .* fewer than 24"):
        split(labels, undecided(labels), spec(**sizes))


@pytest.mark.parametrize("size", [-1, 1.0, 1.5, -0.5])
def test_sizes_that_make_no_sense(size: float) -> None:
    labels = labels_of([12, 12])
    with pytest.raises(RequestError, match=r"data\.test: needs a number of images or a fraction"):
        split(labels, undecided(labels), spec(test=size))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=10), st.integers(0, 300))
def test_even_shares_differ_by_one_but_where_a_class_has_no_more(sizes: list[int], total: int) -> None:
    counts = even_shares(sizes, total)
    assert sum(counts) == min(total, sum(sizes))
    assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
    cut = [count for count, size in zip(counts, sizes, strict=True) if count < size]
    whole = [count for count, size in zip(counts, sizes, strict=True) if count == size]
    assert not cut or (max(cut) - min(cut) <= 1 and max(whole, default=0) <= min(cut) + 1)


def test_a_limit_cuts_the_training_part_evenly_and_a_larger_one_adds_to_it() -> None:
    labels = labels_of([100, 50, 8])
    whole = split(labels, undecided(labels), spec())
    found = {limit: split(labels, undecided(labels), spec(limit=limit)) for limit in (1, 20, 40, 10_000)}
    for part in found.values():
        assert part.validation.tolist() == whole.validation.tolist() and part.test.tolist() == whole.test.tolist()
        assert part.labelled.tolist() == part.train.tolist() and (np.diff(part.train) > 0).all()
    assert [np.bincount(labels[found[limit].train]).tolist() for limit in (1, 20)] == [[1, 1, 1], [8, 7, 5]]
    assert np.isin(found[20].train, found[40].train).all() and np.isin(found[40].train, whole.train).all()
    assert found[10_000].train.tolist() == whole.train.tolist()
    other = split(labels, undecided(labels), spec(limit=20, split_seed=1, validation=0, test=0))
    assert other.train.tolist() != split(labels, undecided(labels), spec(limit=20, validation=0, test=0)).train.tolist()


@pytest.mark.parametrize("official", [False, True])
def test_a_limit_of_the_held_out_parts_thins_them_evenly_and_nothing_else(official: bool) -> None:
    labels = labels_of([100, 50, 8])
    parts = undecided(labels)
    if official:
        parts[:60], parts[60:90] = TEST, VALIDATION
    whole = split(labels, parts, spec(validation=30, test=60))
    found = {limit: split(labels, parts, spec(validation=30, test=60, held_out_limit=limit)) for limit in (1, 12, 20)}
    for part in found.values():
        assert part.train.tolist() == whole.train.tolist() and part.labelled.tolist() == whole.labelled.tolist()
        assert np.isin(part.test, whole.test).all() and np.isin(part.validation, whole.validation).all()
        assert (np.diff(part.test) > 0).all() and (np.diff(part.validation) > 0).all()
    assert [len(found[limit].test) for limit in (12, 20)] == [len(found[limit].validation) for limit in (12, 20)]
    assert len(found[12].test) == 12 and np.isin(found[12].test, found[20].test).all()
    assert set(labels[found[1].test]) == set(labels[whole.test]) and len(found[1].test) == len(set(labels[whole.test]))
    assert split(labels, parts, spec(validation=0.2, test=0.2, held_out_limit=9999)).test.tolist() == (
        split(labels, parts, spec(validation=0.2, test=0.2)).test.tolist()
    )


def test_limits_of_labels_give_way_to_the_limit_of_images() -> None:
    labels = labels_of([60, 60, 60])
    found = split(labels, undecided(labels), spec(limit=30, labels_per_class=20))
    assert found.labelled.tolist() == found.train.tolist() and len(found.train) == 30
    few = split(labels, undecided(labels), spec(limit=30, labels_per_class=4, subset_seed=5))
    assert np.bincount(labels[few.labelled]).tolist() == [4, 4, 4]
    assert np.isin(few.labelled, few.train).all() and few.train.tolist() == found.train.tolist()
    tail = split(labels, undecided(labels), spec(limit=30, imbalance=40))
    assert np.bincount(labels[tail.labelled]).tolist() == [10, 3, 1]
    with pytest.raises(RequestError, match="too few images in the training part"):
        split(labels, undecided(labels), spec(limit=30, labels_per_class=100))


def test_the_long_tail_of_the_papers() -> None:
    """CIFAR-10-LT at a ratio of 100 (Cui et al., 2019; Cao et al., 2019): 12,406 images."""
    counts = long_tail([5000] * 10, 100)
    assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(counts) == 12_406


@given(st.lists(st.integers(1, 500), min_size=2, max_size=12), st.floats(1.01, 50))
def test_a_long_tail_has_its_ratio_whatever_the_classes(sizes: list[int], ratio: float) -> None:
    try:
        counts = long_tail(sizes, ratio)
    except RequestError as error:
        assert "leaves no image of the smallest class" in str(error)
        falling = sorted(sizes, reverse=True)
        assert any(size * ratio ** (k / (len(sizes) - 1)) < ratio for k, size in enumerate(falling))
        return
    assert all(1 <= count <= size for count, size in zip(counts, sizes, strict=True))
    order = sorted(range(len(sizes)), key=lambda c: -sizes[c])
    falling = [counts[c] for c in order]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] / (falling[-1] + 1) < ratio * 1.000001 and (falling[0] + 1) / falling[-1] > ratio * 0.999999


def test_a_long_tail_is_cut_from_the_labelled_subset_by_seed() -> None:
    labels = labels_of([100, 100, 100])
    whole = split(labels, undecided(labels), spec())
    seeds = [split(labels, undecided(labels), spec(imbalance=10, subset_seed=seed)) for seed in range(2)]
    for found in seeds:
        check_complete(found, 300)
        assert found.train.tolist() == whole.train.tolist()
        assert np.bincount(labels[found.labelled]).tolist() == [70, 22, 7]
    assert seeds[0].labelled.tolist() != seeds[1].labelled.tolist()
    few = split(labels, undecided(labels), spec(imbalance=10, labels_per_class=40))
    assert np.bincount(labels[few.labelled]).tolist() == [40, 12, 4]
    assert np.isin(few.labelled, seeds[0].labelled).all()
    with pytest.raises(
        RequestError,
        match=r"data\.imbalance: an imbalance of 100 leaves no image of the smallest class: the largest can",
    ):
        split(labels, undecided(labels), spec(imbalance=100))
