from __future__ import annotations

import pytest
import scipy.stats

from coretune.errors import RequestError
from coretune.report.compare import compare


def test_equal_seeds_are_paired(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    for builder, scores in ((old, [70.0, 72.0, 71.0]), (new, [71.0, 74.5, 71.5])):
        builder.study(methods=["ce"])
        builder.cell("digits", "ce", scores)
    change, mean = compare(old.store, new.store)
    assert (change.kind, mean.kind) == ("cell", "mean")
    assert change.paired and change.n_first == change.n_second == 3
    assert change.comparison.difference == pytest.approx(4 / 3)
    expected = scipy.stats.ttest_rel([71.0, 74.5, 71.5], [70.0, 72.0, 71.0]).pvalue
    assert change.comparison.p_t == pytest.approx(expected)
    assert change.same_runs


def test_partly_shared_seeds_are_paired_over_what_they_share(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    for builder, scores in ((old, [70.0, 72.0]), (new, [71.0, 74.5, 99.0])):
        builder.study(methods=["ce"])
        builder.cell("digits", "ce", scores)
    change = compare(old.store, new.store)[0]
    assert change.paired and (change.n_first, change.n_second) == (2, 3)
    assert (change.comparison.n, change.comparison.difference) == (2, 1.75)
    assert not change.same_runs


def test_other_seeds_are_compared_by_welch(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    new.seed = 1
    for builder, scores in ((old, [70.0, 72.0, 71.0]), (new, [71.0, 74.5, 71.5, 73.0])):
        builder.study(methods=["ce"])
        builder.cell("digits", "ce", scores)
    change = compare(old.store, new.store)[0]
    assert not change.paired and not change.same_runs
    expected = scipy.stats.ttest_ind([71.0, 74.5, 71.5, 73.0], [70.0, 72.0, 71.0], equal_var=False).pvalue
    assert change.comparison.p_t == pytest.approx(expected)


def test_a_cell_of_one_side_has_no_comparison(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    old.study(methods=["ce"])
    old.cell("digits", "ce", [70.0, 71.0])
    new.study(methods=["core_tuning"])
    new.cell("digits", "core_tuning", [70.0, 71.0])
    cells = [change for change in compare(old.store, new.store) if change.kind == "cell"]
    assert [(change.method, change.n_first, change.n_second) for change in cells] == [
        ("ce", 2, 0),
        ("core_tuning", 0, 2),
    ]
    assert all(change.comparison.difference is None for change in cells)


def test_other_metrics_are_refused(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    old.study(methods=["ce"])
    new.metric = "cross_entropy"
    new.study(methods=["ce"])
    with pytest.raises(RequestError, match="measures"):
        compare(old.store, new.store)
