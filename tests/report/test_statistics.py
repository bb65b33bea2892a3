from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.report.statistics import (
    compare_paired,
    compare_unpaired,
    equivalence_p,
    holm,
    mean,
    paired_differences,
    smallest_wilcoxon_p,
    standard_error,
    std,
    summarise,
    t_interval,
    wilcoxon_p,
)

# Student (1908), "The probable error of a mean": extra hours of sleep under two drugs, ten patients.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

accuracies = st.lists(st.integers(0, 600).map(lambda count: 100 * count / 600), min_size=2, max_size=8)
pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=8)


def brute_force_wilcoxon(differences: list[float]) -> float:
    """All 2ⁿ signs of the midranks, counted."""
    left = [value for value in differences if value]
    ranks = scipy.stats.rankdata(np.abs(left))
    observed = sum(rank for rank, value in zip(ranks, left, strict=True) if value > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product([0, 1], repeat=len(left))]
    below = sum(total <= observed + 1e-9 for total in sums)
    above = sum(total >= observed - 1e-9 for total in sums)
    return min(1.0, 2 * min(below, above) / len(sums))


def test_summary_by_hand() -> None:
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    summary = summarise(values)
    assert summary.n == 8
    assert summary.mean == 5.0
    assert summary.std == pytest.approx(math.sqrt(32 / 7))
    assert summary.stderr == pytest.approx(math.sqrt(32 / 7 / 8))
    assert summary.interval is not None
    reach = 2.364624251592785 * math.sqrt(32 / 7 / 8)  # t(0.975, 7) of any table: 2.365
    assert summary.interval.low == pytest.approx(5 - reach)
    assert summary.interval.high == pytest.approx(5 + reach)


@pytest.mark.parametrize("n, t", [(2, 12.7062), (3, 4.3027), (6, 2.5706), (31, 2.0423)])
def test_interval_has_the_quantile_of_a_printed_table(n: int, t: float) -> None:
    values = list(map(float, range(n)))
    interval, error = t_interval(values), standard_error(values)
    assert interval is not None and error is not None
    assert (interval.high - interval.low) / 2 / error == pytest.approx(t, abs=1e-4)


def test_students_sleep_data() -> None:
    compared = compare_paired(SLEEP_2, SLEEP_1)
    assert compared.n == 10
    assert compared.difference == pytest.approx(1.58)
    assert compared.p_t == pytest.approx(0.002833, abs=1e-6)
    assert compared.interval is not None
    assert compared.interval.low == pytest.approx(0.7001142, abs=1e-6)
    assert compared.interval.high == pytest.approx(2.4598858, abs=1e-6)


def test_welch_on_students_sleep_data() -> None:
    compared = compare_unpaired(SLEEP_1, SLEEP_2)
    assert compared.p_t == pytest.approx(0.07939, abs=1e-5)  # R: t.test(extra ~ group)
    assert compared.interval is not None
    assert compared.interval.low == pytest.approx(-3.3654832, abs=1e-6)
    assert compared.interval.high == pytest.approx(0.2054832, abs=1e-6)
    assert compared.p_wilcoxon is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=12))
def test_paired_t_is_scipys(values: list[tuple[float, float]]) -> None:
    first, second = zip(*values, strict=True)
    compared = compare_paired(first, second)
    if compared.p_t is None or np.ptp(paired_differences(first, second)) < 1e-3:
        return
    expected = scipy.stats.ttest_rel(first, second)
    assert compared.p_t == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    bounds = expected.confidence_interval(0.95)
    assert compared.interval is not None
    assert (compared.interval.low, compared.interval.high) == pytest.approx(tuple(bounds), rel=1e-6, abs=1e-6)


@given(pairs)
def test_wilcoxon_with_ties_is_the_count_of_all_signs(values: list[tuple[int, int]]) -> None:
    first = [100 * one / 600 for one, _ in values]
    second = [100 * two / 600 for _, two in values]
    exact = [float(one - two) for one, two in values]
    p = wilcoxon_p(first, second)
    assert (p is None) == (not any(exact))
    if p is not None:
        assert p == pytest.approx(brute_force_wilcoxon(exact), abs=1e-12)


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=20, unique_by=abs).filter(lambda found: 0 not in found))
def test_wilcoxon_without_ties_is_scipys(differences: list[int]) -> None:
    first = list(map(float, differences))
    expected = scipy.stats.wilcoxon(first, method="exact").pvalue
    assert wilcoxon_p(first, [0.0] * len(first)) == pytest.approx(expected, abs=1e-12)


def test_wilcoxon_of_a_printed_table() -> None:
    # n = 6 with all differences of one sign; and W = 2 of n = 8 (two-sided 0.0234 in every table).
    assert wilcoxon_p([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0] * 6) == pytest.approx(2 / 64)
    assert wilcoxon_p([1.0, -2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [0.0] * 8) == pytest.approx(0.0234375)


@given(pairs)
def test_no_p_lies_below_the_smallest(values: list[tuple[int, int]]) -> None:
    first, second = ([float(value) for value in column] for column in zip(*values, strict=True))
    p, smallest = wilcoxon_p(first, second), smallest_wilcoxon_p(len(first))
    assert smallest is not None
    assert p is None or smallest - 1e-15 <= p <= 1


def test_five_pairs_cannot_reach_five_per_cent_and_six_can() -> None:
    assert [smallest_wilcoxon_p(n) for n in range(7)] == [None, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125]


@given(accuracies, st.floats(-50, 50), st.floats(0.1, 10))
def test_shift_and_scale(values: list[float], shift: float, scale: float) -> None:
    moved = summarise([scale * value + shift for value in values])
    still = summarise(values)
    assert still.mean is not None and still.std is not None and still.stderr is not None
    assert moved.mean == pytest.approx(scale * still.mean + shift, abs=1e-9)
    assert moved.std == pytest.approx(scale * still.std, abs=1e-9)
    assert moved.stderr == pytest.approx(scale * still.stderr, abs=1e-9)


@given(pairs, st.integers(0, 20), st.sampled_from([0.5, 1 / 3, 3.0]))
def test_comparison_under_a_common_shift_and_scale(values: list[tuple[int, int]], shift: int, scale: float) -> None:
    first, second = ([float(value) for value in column] for column in zip(*values, strict=True))
    still = compare_paired(first, second)
    moved = compare_paired([scale * (v + shift) for v in first], [scale * (v + shift) for v in second])
    assert still.difference is not None
    assert moved.difference == pytest.approx(scale * still.difference, abs=1e-9)
    assert moved.p_t == (None if still.p_t is None else pytest.approx(still.p_t, rel=1e-6))
    assert moved.p_wilcoxon == (None if still.p_wilcoxon is None else pytest.approx(still.p_wilcoxon))


@given(pairs.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_order_of_pairs_is_no_matter(orders: tuple[list[tuple[int, int]], list[tuple[int, int]]]) -> None:
    results = [compare_paired(*([float(v) for v in column] for column in zip(*order, strict=True))) for order in orders]
    assert results[0] == results[1]


@given(pairs)
def test_exchange_of_the_samples_changes_the_sign_alone(values: list[tuple[int, int]]) -> None:
    first, second = ([float(value) for value in column] for column in zip(*values, strict=True))
    there, back = compare_paired(first, second), compare_paired(second, first)
    assert there.difference is not None and back.difference is not None
    assert there.difference == -back.difference
    assert there.p_wilcoxon == back.p_wilcoxon
    assert there.p_t == back.p_t


def test_nothing_one_value_and_no_spread() -> None:
    assert summarise([]).mean is None and mean([]) is None and std([]) is None
    one = summarise([3.0])
    assert (one.n, one.mean, one.std, one.stderr, one.interval) == (1, 3.0, None, None, None)
    same = summarise([0.1] * 3)
    assert same.std == 0.0
    assert same.interval is not None and same.interval.low == same.interval.high == 0.1
    nothing = compare_paired([], [])
    assert (nothing.n, nothing.difference, nothing.interval, nothing.p_t, nothing.p_wilcoxon) == (
        0,
        None,
        None,
        None,
        None,
    )
    single = compare_paired([2.0], [1.0])
    assert (single.n, single.difference, single.interval, single.p_t, single.p_wilcoxon) == (1, 1.0, None, None, 1.0)
    assert compare_unpaired([1.0], [2.0, 3.0]).p_t is None
    assert compare_unpaired([1.0, 1.0], [3.0, 3.0]).p_t is None
    assert compare_unpaired([], [3.0]).difference is None


def test_equal_runs_have_no_p() -> None:
    same = compare_paired(SLEEP_1, SLEEP_1)
    assert (same.difference, same.p_t, same.p_wilcoxon) == (0.0, None, None)


def test_rounding_is_no_evidence() -> None:
    second = [100 * count / 600 for count in (411, 437, 450, 466, 479, 503)]
    first = [100 * (count + 4) / 600 for count in (411, 437, 450, 466, 479, 503)]
    assert (
        len({one - two for one, two in zip(first, second, strict=True)}) > 1
    )  # the trap: they differ in the last bits
    compared = compare_paired(first, second)
    assert compared.difference == pytest.approx(4 / 6)
    assert compared.p_t is None and compared.interval is None
    assert compared.p_wilcoxon == pytest.approx(2 / 64)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare_paired([1.0, 2.0], [1.0])


# --- equivalence -----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(pairs, st.floats(0.01, 50))
def test_equivalence_is_the_larger_of_two_one_sided_tests(sample: list[tuple[int, int]], bound: float) -> None:
    first, second = [[float(value) for value in values] for values in zip(*sample, strict=True)]
    differences = np.subtract(first, second)
    p = equivalence_p(first, second, bound)
    if np.ptp(differences) == 0:
        assert p is None
        return
    above = scipy.stats.ttest_1samp(differences, -bound, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(differences, bound, alternative="less").pvalue
    assert p == pytest.approx(max(above, below), abs=1e-12)
    assert p == equivalence_p(second, first, bound)


def test_equivalence_needs_a_spread_and_a_bound() -> None:
    assert equivalence_p([], [], 1) is None
    assert equivalence_p([1.0], [2.0], 1) is None
    assert equivalence_p([70.1, 70.2], [70.0, 70.1], 1) is None, "differences that agree but for the last bit"
    for bound in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="greater than 0"):
            equivalence_p([1.0, 2.0], [2.0, 2.0], bound)


# --- Holm ------------------------------------------------------------------------------------------------------

family = st.lists(st.none() | st.floats(0, 1) | st.integers(0, 20).map(lambda k: k / 100), max_size=7)


def rejected_by_steps(values: list[float], level: float) -> set[int]:
    """Holm's procedure as he states it: go on from the smallest p while p ≤ level / (tests that are left)."""
    left = list(range(len(values)))
    while left:
        smallest = min(left, key=values.__getitem__)
        if values[smallest] > level / len(left):
            break
        left.remove(smallest)
    return set(range(len(values))) - set(left)


@given(family, st.floats(0.001, 0.999))
def test_holm_rejects_what_the_steps_reject(values: list[float | None], level: float) -> None:
    adjusted = holm(values)
    limits = [p for p in adjusted if p is not None]
    if any(math.isclose(p, level, rel_tol=1e-9) for p in limits):
        return  # a tie between p and the level is decided by the last bit
    found = {index for index, p in enumerate(adjusted) if p is not None and p <= level}
    assert found == rejected_by_steps([1.0 if p is None else p for p in values], level)


@given(family)
def test_holm_against_its_definition(values: list[float | None]) -> None:
    """The smallest p over all intersections that hold a test, each judged by Bonferroni, is the closed test of Holm."""
    adjusted = holm(values)
    known = [1.0 if p is None else p for p in values]
    for index, (raw, p) in enumerate(zip(values, adjusted, strict=True)):
        if raw is None:
            assert p is None
            continue
        others = [place for place in range(len(values)) if place != index]
        groups = [[index, *more] for size in range(len(values)) for more in itertools.combinations(others, size)]
        assert p == pytest.approx(max(min(1.0, len(group) * min(known[i] for i in group)) for group in groups))
        assert p >= raw


@given(family.filter(lambda values: None in values), st.floats(0, 1))
def test_a_p_that_comes_later_makes_no_other_larger(values: list[float | None], late: float) -> None:
    index = values.index(None)
    before, after = holm(values), holm([*values[:index], late, *values[index + 1 :]])
    for one, two in zip(before, after, strict=True):
        assert one is None or (two is not None and two <= one + 1e-15)


def test_holm_by_hand() -> None:
    assert holm([]) == []
    assert holm([0.04]) == [0.04]
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.02]) == [None, 0.04]
