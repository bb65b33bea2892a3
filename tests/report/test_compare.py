from __future__ import annotations

import csv
import io
import json

import pytest
import scipy.stats

from coretune.errors import RequestError
from coretune.report.compare import compare
from coretune.report.export import CHANGE_COLUMNS, changes_to_csv, changes_to_json
from coretune.report.typeset_changes import changes_to_latex, changes_to_markdown


def test_equal_seeds_are_paired(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    for builder, scores in ((old, [70.0, 72.0, 71.0]), (new, [71.0, 74.5, 71.5])):
        builder.study(methods=["ce"])
        builder.cell("digits", "ce", scores)
    (change,) = compare(old.store, new.store).rows
    assert change.kind == "cell"
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
    change = compare(old.store, new.store).rows[0]
    assert change.paired and (change.n_first, change.n_second) == (2, 3)
    assert (change.comparison.n, change.comparison.difference) == (2, 1.75)
    assert not change.same_runs


def test_other_seeds_are_compared_by_welch(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    new.seed = 1
    for builder, scores in ((old, [70.0, 72.0, 71.0]), (new, [71.0, 74.5, 71.5, 73.0])):
        builder.study(methods=["ce"])
        builder.cell("digits", "ce", scores)
    change = compare(old.store, new.store).rows[0]
    assert not change.paired and not change.same_runs
    expected = scipy.stats.ttest_ind([71.0, 74.5, 71.5, 73.0], [70.0, 72.0, 71.0], equal_var=False).pvalue
    assert change.comparison.p_t == pytest.approx(expected)


def test_a_cell_of_one_side_has_no_comparison(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    old.study(methods=["ce"])
    old.cell("digits", "ce", [70.0, 71.0])
    new.study(methods=["core_tuning"])
    new.cell("digits", "core_tuning", [70.0, 71.0])
    changes = compare(old.store, new.store)
    cells = changes.rows
    assert "no cell has the same labels in both" in changes.notes
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


def test_means_over_several_data_sets_come_last(make_builder) -> None:
    old, new = make_builder("old"), make_builder("new")
    for builder, gain in ((old, 0.0), (new, 1.0)):
        builder.study(datasets=["digits", "photos"], methods=["ce"])
        for dataset, score in (("digits", 70.0), ("photos", 50.0)):
            builder.cell(dataset, "ce", [score + gain, score + 2 + 2 * gain])
    changes = compare(old.store, new.store)
    assert [(row.kind, row.dataset) for row in changes.rows] == [
        ("cell", "digits"),
        ("cell", "photos"),
        ("mean", "mean"),
    ]
    assert changes.rows[-1].comparison.difference == pytest.approx(1.5)


@pytest.fixture
def changes(make_builder):
    old, new = make_builder("old"), make_builder("new")
    old.study(methods=["ce", "scl"])
    new.study(methods=["ce", "l2_sp"])
    old.cell("digits", "ce", [70.0, 72.0, 71.0])
    new.cell("digits", "ce", [69.0, 72.5, 68.5])
    old.cell("digits", "scl", [70.0, 72.0, 71.0])
    new.cell("digits", "l2_sp", [69.0, 72.5, 68.5])
    return compare(old.store, new.store)


def test_csv_and_json_have_all_digits(changes) -> None:
    rows = list(csv.DictReader(io.StringIO(changes_to_csv(changes))))
    assert tuple(rows[0]) == CHANGE_COLUMNS
    found = changes.rows[0].comparison
    assert float(rows[0]["difference"]) == found.difference and float(rows[0]["ci_low"]) == found.interval.low
    assert (rows[1]["mean_second"], rows[1]["difference"], rows[1]["n_second"]) == ("", "", "0")
    read = json.loads(changes_to_json(changes))
    assert read["first"].endswith("old") and read["metric"] == "top1"
    assert [list(row) for row in read["rows"]] == [list(CHANGE_COLUMNS)] * 3
    assert read["rows"][0]["paired"] is True and read["rows"][2]["mean_first"] is None


def test_tables_for_people(changes) -> None:
    text = changes_to_markdown(changes)
    assert "| digits | net | ce | 71.00 (3) | 70.00 (3) | -1.00 (-4.73 to 2.73) |" in text
    assert "only in the first" in text and "only in the second" in text
    assert "booktabs" in changes_to_latex(changes) and r"$-$1.00" in changes_to_latex(changes)
