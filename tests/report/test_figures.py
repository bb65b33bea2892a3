"""The figures that all tables share: of the values, and of the pairs with the baseline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.report.figures import average, figures, in_common
from coretune.report.statistics import compare_paired, summarise

VALUES = st.dictionaries(st.tuples(st.integers(0, 5), st.just(7)), st.floats(0, 100), max_size=6)


@given(VALUES, VALUES)
def test_they_are_of_the_values_and_of_shared_seeds(own: dict, theirs: dict) -> None:
    found = figures(own, theirs)
    summary = summarise(list(own.values()))
    shared = [seed for seed in own if seed in theirs]
    compared = compare_paired([own[seed] for seed in shared], [theirs[seed] for seed in shared])
    assert (found["n"], found["mean"], found["std"], found["stderr"]) == (
        *(summary.n, summary.mean, summary.std, summary.stderr),
    )
    assert (found["diff"], found["p_paired_t"], found["p_wilcoxon"], found["n_pairs"]) == (
        *(compared.difference, compared.p_t, compared.p_wilcoxon, len(shared)),
    )
    assert found["values"] == tuple(own.values()) and len(found["seeds"]) == len(own)


def test_without_a_baseline_there_is_no_difference() -> None:
    found = figures({(0, 1): 1.0, (1, 2): 3.0}, None)
    assert (found["mean"], found["diff"], found["n_pairs"], found["seeds"]) == (2.0, None, 0, (1, 2))
    assert found["ci_low"] is not None and found["diff_ci_low"] is None


def test_an_average_needs_a_value_on_all_data_sets() -> None:
    one, other = {(0, 1): 1.0, (1, 2): 2.0}, {(1, 2): 4.0, (2, 3): 9.0}
    assert average([one, other]) == {(1, 2): 3.0}
    assert average([one]) == one and average([]) == {}


@pytest.mark.parametrize(
    ("placed", "common"),
    [
        ([("a", "ce"), ("a", "core"), ("b", "ce")], ["a"]),
        ([("b", "core"), ("a", "ce"), ("a", "core"), ("b", "ce")], ["b", "a"]),
        ([("a", "ce")], []),
    ],
)
def test_data_sets_in_common(placed: list[tuple[str, str]], common: list[str]) -> None:
    assert in_common(["ce", "core"], placed) == common
