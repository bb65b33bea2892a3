from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.report.power import POWER, minimum_detectable_difference, noncentrality, t_power


@pytest.mark.parametrize("n", [4, 6, 16, 100])
@pytest.mark.parametrize("level", [0.5, 0.05, 0.05 / 3])
def test_the_power_at_the_difference_is_80_per_cent(n: int, level: float) -> None:
    std = 1.7
    difference = minimum_detectable_difference(std, n, level)
    assert difference is not None
    shift, critical = difference / (std / math.sqrt(n)), scipy.stats.t.ppf(1 - level / 2, n - 1)
    power = scipy.stats.nct.sf(critical, n - 1, shift) + scipy.stats.nct.cdf(-critical, n - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-9)


def test_two_pairs_by_simulation() -> None:
    """One degree of freedom, where the series for the noncentral t fail."""
    draws = np.random.default_rng(0).normal(size=(2, 400_000))
    for level in (0.05, 0.05 / 6):
        difference = minimum_detectable_difference(1.0, 2, level)
        assert difference is not None
        samples = draws + difference
        t = samples.mean(axis=0) / (np.abs(samples[0] - samples[1]) / 2)
        assert (np.abs(t) > scipy.stats.t.ppf(1 - level / 2, 1)).mean() == pytest.approx(POWER, abs=0.004)


def test_many_pairs_are_the_normal_limit() -> None:
    expected = scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)
    assert noncentrality(9_999, 0.05) == pytest.approx(expected, rel=1e-3)


@settings(max_examples=30)
@given(st.integers(1, 200), st.floats(1e-12, 0.79))
def test_without_a_difference_the_power_is_the_level(freedom: int, level: float) -> None:
    assert t_power(0.0, freedom, level) == pytest.approx(level, rel=1e-5)
    assert t_power(noncentrality(freedom, level), freedom, level) == pytest.approx(POWER, abs=1e-9)


def test_a_larger_level_and_more_pairs_find_smaller_differences() -> None:
    found = [minimum_detectable_difference(1.0, n, 0.05) for n in (2, 3, 6, 16)]
    assert found == sorted(found, reverse=True)  # type: ignore[type-var]
    levels = [noncentrality(5, level) for level in (0.001, 0.05, 0.5, 0.8, 0.9)]
    assert levels == sorted(levels, reverse=True) and levels[-2:] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("std", "n", "level"), [(0.0, 6, 0.05), (1.0, 1, 0.05), (1.0, 0, 0.05), (math.nan, 6, 0.05), (1.0, 2, 5e-324)]
)
def test_what_cannot_be_computed_is_none(std: float, n: int, level: float) -> None:
    assert minimum_detectable_difference(std, n, level) is None


def test_the_smallest_levels_end() -> None:
    assert (minimum_detectable_difference(1.0, 2, 1e-100) or 0) > 1e99
