"""Means, spreads and paired tests over seeds: pure functions of finite numbers.

What cannot be computed is None, never NaN, a warning or an exception: with no value there is no mean, with one value
no spread, without spread no t-test, without a difference no signed-rank test.

Accuracies are counts over one test part, so that differences are often equal or zero. Differences that agree within
`RESOLUTION` of the largest value count as equal: the last bits of a quotient are no evidence.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

RESOLUTION = 1e-9
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """A sample in six numbers.

    Attributes:
        n: Size.
        mean: Arithmetic mean; None for n = 0.
        std: Standard deviation with ddof = 1; None for n < 2.
        stderr: Standard error of the mean, std / √n; None for n < 2.
        interval: 95 % t-interval of the mean; None for n < 2.
    """

    n: int
    mean: float | None
    std: float | None
    stderr: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Comparison:
    """The difference of two samples' means.

    Attributes:
        n: Pairs, or for independent samples the smaller size.
        difference: Mean of first minus second; None without values.
        interval: 95 % t-interval of the difference; None where there is no spread to judge by: for n < 2 and where the
            differences do not vary.
        p_t: Two-sided p-value of the t-test; None for n < 2 and where the differences do not vary.
        p_wilcoxon: Two-sided exact p-value of the signed-rank test; None without a difference, and unpaired.
    """

    n: int
    difference: float | None
    interval: Interval | None
    p_t: float | None
    p_wilcoxon: float | None


def mean(values: Sequence[float]) -> float | None:
    """Returns the arithmetic mean, correctly rounded; None for no values."""
    return float(statistics.mean(map(float, values))) if values else None


def std(values: Sequence[float]) -> float | None:
    """Returns the standard deviation with ddof = 1; None for fewer than two values."""
    return float(statistics.stdev(map(float, values))) if len(values) > 1 else None


def standard_error(values: Sequence[float]) -> float | None:
    """Returns the standard error of the mean, std / √n; None for fewer than two values."""
    spread = std(values)
    return None if spread is None else spread / math.sqrt(len(values))


def t_interval(values: Sequence[float]) -> Interval | None:
    """Returns the 95 % interval of the mean, mean ± t(0.975, n − 1) · std / √n; None for fewer than two values."""
    centre, error = mean(values), standard_error(values)
    if centre is None or error is None:
        return None
    return _around(centre, error, len(values) - 1)


def summarise(values: Sequence[float]) -> Summary:
    """Returns size, mean, spread, standard error and interval of a sample."""
    return Summary(len(values), mean(values), std(values), standard_error(values), t_interval(values))


def compare_paired(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compares two samples pair by pair: first minus second.

    The t-test is that of `scipy.stats.ttest_rel`, which tests the mean of the differences against zero. Where all
    differences are equal its statistic is infinite or undefined: p is None rather than 0, and so is the interval,
    rather than a point.

    Args:
        first: n finite values.
        second: n finite values, in the same order.

    Raises:
        ValueError: The samples differ in length.
    """
    differences = paired_differences(first, second)
    n = len(differences)
    centre, error, p_wilcoxon = mean(differences), standard_error(differences), wilcoxon_p(first, second)
    if centre is None or error is None or error * math.sqrt(n) <= _resolution(first, second):
        return Comparison(n, centre, None, None, p_wilcoxon)
    return Comparison(n, centre, _around(centre, error, n - 1), _two_sided(centre / error, n - 1), p_wilcoxon)


def equivalence_p(first: Sequence[float], second: Sequence[float], bound: float) -> float | None:
    """Returns the p-value of two one-sided paired t-tests (TOST): is the mean difference within ± a bound?

    The larger of the p-values of "mean ≤ −bound" against greater and of "mean ≥ bound" against less, each that of
    `scipy.stats.ttest_1samp` on the differences (Schuirmann 1987). A small one says that the difference is small;
    a large p of the t-test against zero does not.

    Args:
        first: n finite values.
        second: n finite values, in the same order.
        bound: The smallest difference that matters, greater than 0.

    Returns:
        p in [0, 1], or None for n < 2 and where the differences do not vary.

    Raises:
        ValueError: The samples differ in length, or the bound is not greater than 0.
    """
    if not bound > 0:
        raise ValueError(f"bound must be greater than 0, got {bound}")
    differences = paired_differences(first, second)
    n = len(differences)
    centre, error = mean(differences), standard_error(differences)
    if centre is None or error is None or error * math.sqrt(n) <= _resolution(first, second):
        return None
    return float(stdtr(n - 1, (abs(centre) - bound) / error))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Returns Holm's adjusted p-values: a test is rejected at a family-wise level if its value is at most the level.

    With p₍₁₎ ≤ … ≤ p₍ₘ₎, the k-th is the largest of (m − j + 1) · p₍ⱼ₎ over j ≤ k, at most 1 (Holm 1979). It holds
    whatever the dependence between tests.

    A test without p (None) stays without, and counts in m: as it might turn out, the others are judged as if it were 1.
    Whatever p it gets later, the adjusted values of the others can only become smaller.
    """
    m, largest = len(values), 0.0
    adjusted: list[float | None] = [None] * m
    known = sorted((p, index) for index, p in enumerate(values) if p is not None)
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (m - rank) * p))
        adjusted[index] = largest
    return adjusted


def compare_unpaired(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compares two independent samples by Welch's t-test, with the degrees of freedom of Satterthwaite."""
    n = min(len(first), len(second))
    one, two = mean(first), mean(second)
    if one is None or two is None:
        return Comparison(n, None, None, None, None)
    error_one, error_two = standard_error(first), standard_error(second)
    if error_one is None or error_two is None:
        return Comparison(n, one - two, None, None, None)
    error = math.hypot(error_one, error_two)
    if error <= _resolution(first, second):
        return Comparison(n, one - two, None, None, None)
    share = (error_one / error) ** 2
    freedom = 1 / (share**2 / (len(first) - 1) + (1 - share) ** 2 / (len(second) - 1))
    return Comparison(n, one - two, _around(one - two, error, freedom), _two_sided((one - two) / error, freedom), None)


def paired_differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Returns first minus second, pair by pair; what lies within rounding of zero is zero.

    Raises:
        ValueError: The samples differ in length.
    """
    limit = _resolution(first, second)
    differences = [one - two for one, two in zip(first, second, strict=True)]
    return [0.0 if abs(value) <= limit else value for value in differences]


def wilcoxon_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Returns the two-sided p-value of Wilcoxon's signed-rank test, exact also with ties.

    Differences of zero are left out (Wilcoxon's own rule), equal ones share the mean of their ranks, and the null
    distribution is that of these very ranks under all 2ⁿ signs, by convolution. `scipy.stats.wilcoxon` with
    `method="exact"` is the same where no differences tie.

    Returns:
        p in (0, 1], or None if no difference is left.

    Raises:
        ValueError: The samples differ in length.
    """
    differences = [value for value in paired_differences(first, second) if value]
    if not differences:
        return None
    ranks = _doubled_ranks([abs(value) for value in differences], _resolution(first, second))
    positive = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    chance = np.ones(1)
    for rank in ranks:
        wider = np.zeros(len(chance) + rank)
        wider[: len(chance)] = chance / 2
        wider[rank:] += chance / 2
        chance = wider
    tail = min(chance[: positive + 1].sum(), chance[positive:].sum())
    return min(1.0, 2 * float(tail))


def smallest_wilcoxon_p(n: int) -> float | None:
    """Returns the smallest p that the two-sided signed-rank test can reach with n pairs, 2 / 2ⁿ; None for n = 0."""
    return 2.0 ** (1 - n) if n > 0 else None


def _resolution(*samples: Sequence[float]) -> float:
    return RESOLUTION * max((abs(value) for sample in samples for value in sample), default=0.0)


def _around(centre: float, error: float, freedom: float) -> Interval:
    reach = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return Interval(centre - reach, centre + reach)


def _two_sided(t: float, freedom: float) -> float:
    return 2 * float(stdtr(freedom, -abs(t)))


def _doubled_ranks(sizes: Sequence[float], limit: float) -> list[int]:
    """Returns twice the rank of each size (whole numbers even where ties share a mean rank)."""
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    ranks = [0] * len(sizes)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or sizes[order[end]] - sizes[order[end - 1]] > limit:
            for place in order[start:end]:
                ranks[place] = start + 1 + end
            start = end
    return ranks
