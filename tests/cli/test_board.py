from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from coretune.report.evaluated import EvaluatedRow
from coretune.report.leaderboard import Leaderboard, Row
from coretune.report.typeset_evaluated import evaluations_to_latex, evaluations_to_markdown
from coretune_cli.board import Axis, axis, board, interval_bar

RULE = "best of 8 trials by top1 on the validation part; weights of the last epoch"


def row(method: str = "ce", **changes: Any) -> Row:
    values: dict[str, Any] = {
        "kind": "cell",
        "dataset": "digits",
        "backbone": "moco_small",
        "method": method,
        "metric": "top1",
        "direction": "max",
        "selection_rule": RULE,
        "n": 6,
        "mean": 76.71,
        "std": 3.45,
        "stderr": 1.41,
        "ci_low": 73.1,
        "ci_high": 80.32,
        "diff": None,
        "diff_ci_low": None,
        "diff_ci_high": None,
        "p_paired_t": None,
        "p_wilcoxon": None,
        "n_pairs": 0,
        "rank": 2,
        "status": "6 of 6 final runs",
    }
    return Row(**{**values, **changes})


def versus(method: str, mean: float, diff: float, **changes: Any) -> Row:
    ends = {"ci_low": mean - 2, "ci_high": mean + 2, "diff_ci_low": diff - 1.5, "diff_ci_high": diff + 1.5}
    tests = {"p_paired_t": 0.0213, "p_wilcoxon": 0.03125, "n_pairs": 6, "stderr": 0.8, "rank": 1}
    return row(method, mean=mean, diff=diff, **{**ends, **tests, **changes})


ONE = Leaderboard(
    study="quickstart",
    metric="top1",
    direction="max",
    baseline="ce",
    selection_rule=RULE,
    complete=True,
    rows=(row(), versus("core_tuning", 78.94, 2.23)),
    means=(),
    notes=("the spread over seeds holds the randomness of training",),
)
UNFINISHED = replace(
    ONE,
    complete=False,
    rows=(
        *ONE.rows,
        row(
            dataset="cars",
            mean=None,
            stderr=None,
            ci_low=None,
            ci_high=None,
            rank=None,
            n=0,
            status="searching: 3 of 8 trials",
        ),
        versus("core_tuning", 60.0, -4.0, dataset="cars", p_paired_t=1e-5),
    ),
    means=(row(kind="mean", dataset="mean", status="over 1 data set"),),
)


def drawn(leaderboard: Leaderboard, width: int) -> str:
    out = Console(width=width, record=True, file=io.StringIO(), force_terminal=False, markup=False, highlight=False)
    out.print(board(leaderboard, width))
    return out.export_text(styles=False)


@pytest.mark.parametrize("width", [80, 140])
def test_one_data_set(width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"board_one_{width}", drawn(ONE, width))


@pytest.mark.parametrize("width", [80, 160])
def test_unfinished(width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"board_unfinished_{width}", drawn(UNFINISHED, width))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_fits(width: int) -> None:
    assert max(map(len, drawn(UNFINISHED, width).splitlines())) <= width


def test_says_what_its_numbers_mean() -> None:
    text = " ".join(drawn(ONE, 80).split())
    assert "± is the standard error of the mean" in text and "not the standard deviation" in text
    assert f"Selection: {RULE}." in text and "Bars that do not begin at zero" in text
    assert "higher is better" in text and "Not complete" not in text
    assert "Not complete" in drawn(UNFINISHED, 80)


def test_only_bars_that_do_not_begin_at_zero_are_said_not_to() -> None:
    low = row(dataset="cars", mean=20.0, ci_low=0.0, ci_high=40.0)
    lines = drawn(replace(ONE, rows=(row(), low)), 140).splitlines()
    assert "Bars: cars 0 to 43.2." in lines
    assert "Bars that do not begin at zero: digits 72.52 to 80.9." in lines


def test_without_a_baseline_nothing_is_compared() -> None:
    text = drawn(replace(ONE, baseline=None, rows=(row(),)), 140)
    assert "p (t)" not in text and "difference" not in text


def test_before_the_first_score_there_is_nothing_to_compare() -> None:
    empty = row(mean=None, stderr=None, ci_low=None, ci_high=None, rank=None, n=0, status="searching: 3 of 8 trials")
    text = drawn(replace(ONE, complete=False, rows=(empty, replace(empty, method="core_tuning"))), 80)
    assert "p (t)" not in text and "95 % interval " not in text and "searching: 3 of 8 trials" in text


def test_labels_are_no_markup() -> None:
    assert "[red]ce[/]" in drawn(replace(ONE, baseline="[red]ce[/]", rows=(row("[red]ce[/]"),)), 140)


def test_cross_entropy_has_more_digits_and_lower_is_better() -> None:
    low = replace(
        ONE, metric="cross_entropy", direction="min", rows=(row(mean=0.51234, stderr=0.01, ci_low=0.49, ci_high=0.53),)
    )
    assert "0.5123 ± 0.0100" in drawn(low, 140) and "lower is better" in drawn(low, 140)


def test_nothing_yet() -> None:
    assert "no cell has begun" in drawn(replace(ONE, metric="", rows=(), baseline=None, selection_rule=""), 80)


def test_bar_of_known_places() -> None:
    ends = Axis(0.0, 10.0)
    assert interval_bar(row(mean=5.5, ci_low=2.5, ci_high=8.5), ends, 10).plain == "━━├──●──┤"
    assert interval_bar(row(mean=5.5, ci_low=None, ci_high=None), ends, 10).plain == "━━━━━●"
    assert interval_bar(row(mean=None), ends, 10).plain == ""


@given(st.floats(0, 100), st.floats(0, 60), st.integers(4, 60))
def test_a_bar_never_leaves_its_place(mean: float, half: float, width: int) -> None:
    one = row(mean=mean, ci_low=mean - half, ci_high=mean + half)
    ends = axis([one], "top1")
    assert ends is not None and 0 <= ends.low < ends.high <= 100
    text = interval_bar(one, ends, width).plain
    assert 1 <= len(text) <= width and text.count("●") == 1


def further(method: str, metric: str, mean: float, stderr: float | None = 0.5, **changes: Any) -> EvaluatedRow:
    changes = {"selection_rule": RULE, **changes}
    empty = dict.fromkeys(
        ("std", "ci_low", "ci_high", "diff", "diff_ci_low", "diff_ci_high", "p_paired_t", "p_wilcoxon", "n_pairs"), None
    )
    named = {"dataset": "digits", "backbone": "net", "evaluation": "corruptions", "n": 6, "spec": "{}"}
    named |= {"datasets": (), "kind": "cell", **changes}
    return EvaluatedRow(  # type: ignore[arg-type]
        method=method, metric=metric, mean=mean, stderr=stderr, seeds=(), values=(), **{**empty, **named}
    )


def test_further_evaluations_stand_below_the_scores() -> None:
    rows = [further("ce", "corruption_error", 30.456), further("ce", "relative_mce", 100.0, None)]
    rows += [further("core_tuning", "corruption_error", 0.01234), further("core_tuning", "relative_mce", 87.5)]
    text = drawn(replace(ONE, evaluations=tuple(rows)), 100)
    lines = [line.split() for line in text.splitlines()]
    assert ["corruptions"] in lines and ["method", "n", "corruption_error", "relative_mce"] in lines
    assert ["ce", "6", "30.46", "±", "0.50", "100.00"] in lines
    assert ["core_tuning", "6", "0.01234", "±", "0.50000", "87.50", "±", "0.50"] in lines
    assert "relative_mce: errors under corruptions as shares of those of ce" in text
    assert "corruptions" not in drawn(ONE, 100)
    mean = further("ce", "corruption_error", 44.4, dataset="mean", kind="mean")
    text = drawn(replace(ONE, evaluations=tuple(rows), evaluation_means=(mean,)), 100)
    assert ["mean", "ce", "6", "44.40", "±", "0.50", "–"] in [line.split() for line in text.splitlines()]


def test_a_further_evaluation_of_other_weights_says_how_they_were_chosen() -> None:
    rows = [further("ce", "top1", 81.0), further("ce", "top1", 82.0, evaluation="best", selection_rule="its own rule")]
    lines = drawn(replace(ONE, evaluations=tuple(rows)), 100).splitlines()
    assert lines.count("Selection of best: its own rule.") == 1
    assert not any(line.startswith("Selection of corruptions") for line in lines), "it is that of the scores"
    caption = evaluations_to_markdown(replace(ONE, evaluations=tuple(rows)))
    assert f"Selection: {RULE}." in caption and "Selection: its own rule." in caption


def test_figures_of_several_rules_have_signs() -> None:
    other = row(dataset="cars", selection_rule="oracle", rank=1)
    mean = row(kind="mean", dataset="mean", datasets=("digits", "cars"), rank=1)
    rows = [further("ce", "top1", 81.0), further("ce", "top1", 82.0, dataset="cars", selection_rule="oracle")]
    rows = [replace(each, backbone="moco_small") for each in rows]
    found = replace(ONE, rows=(row(), other), means=(mean,), evaluations=tuple(rows))
    text = drawn(found, 120)
    assert "76.71 ± 1.41†  " in text and "76.71 ± 1.41‡  " in text and "76.71 ± 1.41†,‡" in text
    assert "81.00 ± 0.50†" in text and "82.00 ± 0.50‡" in text and "differs" not in text
    lines = text.splitlines()
    assert f"Selection: † {RULE}. ‡ oracle." in lines and f"Selection of corruptions: † {RULE}. ‡ oracle." in lines
    written = evaluations_to_markdown(found)
    assert "81.00 ± 0.50† |" in written and f"Selection: † {RULE}. ‡ oracle. Evaluation" in written
    assert r"81.00 $\pm$ 0.50$^{\dagger}$" in evaluations_to_latex(found)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_many_metrics_give_way(width: int) -> None:
    rows = [further("ce", f"metric_{number}", 1.0, dataset=f"set {number % 2}") for number in range(20)]
    text = drawn(replace(ONE, evaluations=tuple(rows)), width)
    assert max(map(len, text.splitlines())) <= width and "metric_0" in text
