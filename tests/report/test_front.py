"""The leaderboard of two objectives, its front, and the figure of it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from support.driving import drive, make_book, resolved
from support.fronts import FRONT, SEARCH, front_results

from coretune.errors import RequestError
from coretune.report.compare import compare
from coretune.report.export import (
    COLUMNS,
    evaluations_to_csv,
    front_to_csv,
    front_to_json,
    to_csv,
    to_dataframe,
    to_dict,
)
from coretune.report.front import front_points, metrics_of, panels_of, view
from coretune.report.front_figure import draw_front, nothing, write_front
from coretune.report.leaderboard import Leaderboard, build
from coretune.report.panels import panels
from coretune.report.runs_table import runs_table
from coretune.report.typeset import to_latex, to_markdown
from coretune.results.store import ResultsStore

ROLES = ("best_top1", "best_robust_top1", "knee")
METRICS = ("top1", "robust_top1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultsStore:
    return front_results(tmp_path_factory.mktemp("front") / "results", "evaluations.geometry={}")


@pytest.fixture(scope="module")
def board(store: ResultsStore) -> Leaderboard:
    return build(store)


def test_there_is_a_row_for_each_cell_choice_and_metric(board: Leaderboard) -> None:
    assert board.complete and board.objectives == (("top1", "max"), ("robust_top1", "max"))
    keys = [(row.method, row.choice, row.metric) for row in board.rows]
    assert keys == [(m, role, metric) for m in ("ce", "core_tuning") for role in ROLES for metric in METRICS]
    assert all(row.n == 2 and row.status == "2 of 2 final runs" for row in board.rows)
    assert {(row.choice, row.metric) for row in board.means} == {(role, metric) for role in ROLES for metric in METRICS}


def test_rows_are_those_of_the_choice_and_compared_with_the_baseline_s(board: Leaderboard, store: ResultsStore) -> None:
    for row in board.rows:
        cell = store.cell(f"{row.dataset}--{row.method}--{row.backbone}")
        assert cell is not None
        choice = next(choice for choice in cell.choices if row.choice in choice.roles)
        assert row.params == choice.params and row.selection_rule == f"{choice.rule}; last epoch"
        assert set(row.run_ids) == {final.run_id for final in cell.finals if final.trial == choice.trial}
        rate = choice.params["train.lr"]
        wanted = 100 - abs(rate - 0.02) * 100 if row.metric == "top1" else 60 * (1 - rate)
        assert row.mean == pytest.approx(wanted)
        if row.method == "core_tuning":
            rival = next(r for r in board.rows if (r.method, r.choice, r.metric) == ("ce", row.choice, row.metric))
            assert row.n_pairs == 2 and row.mean is not None and rival.mean is not None
            assert row.diff == pytest.approx(row.mean - rival.mean)
            assert {row.rank, rival.rank} in ({1, 2}, {1})


def test_the_front_has_all_trials_and_says_what_was_chosen(board: Leaderboard) -> None:
    assert len(board.front) == 16
    for method in ("ce", "core_tuning"):
        points = [point for point in board.front if point.method == method]
        assert [point.trial for point in points] == list(range(8))
        front = [point for point in points if point.on_front]
        assert {role for point in front for role in point.roles} == set(ROLES)
        assert not any(point.roles for point in points if not point.on_front)
        assert max(point.scores["top1"] for point in points) == next(
            point.scores["top1"] for point in front if "best_top1" in point.roles
        )


def test_notes_say_what_a_knee_is_and_under_which_attack_the_accuracy_is(board: Leaderboard) -> None:
    (attack,) = [note for note in board.notes if note.startswith("robust_top1")]
    assert "of 50 test images at most under PGD, L∞ 2/255, 10 steps" in attack
    assert sum("knee of the front" in note for note in board.notes) == 1


def test_a_value_beside_its_range_is_told_with_the_choice_that_has_it(tmp_path: Path) -> None:
    space = "methods={ce: {train: {lr: {log_uniform: [0.01, 0.3], also: [0.001], default: 0.02}}}}"
    notes = build(front_results(tmp_path, space)).notes
    (said,) = [note for note in notes if note.startswith("the search chose")]
    assert said == "the search chose train.lr = 0.001, beside its range, for digits, ce, best_robust_top1"


def test_evaluations_stand_by_choice_and_the_scoring_ones_are_none(board: Leaderboard) -> None:
    assert {row.evaluation for row in board.evaluations} == {"geometry"}
    assert {row.choice for row in board.evaluations} == set(ROLES)
    header = evaluations_to_csv(board).splitlines()[0].split(",")
    assert header[:4] == ["dataset", "backbone", "method", "choice"]


def test_files_have_a_column_more_than_those_of_one_objective(board: Leaderboard, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert [name for name in rows[0] if name != "choice"] == list(COLUMNS)
    assert [row["choice"] for row in rows[:6]] == [role for role in ROLES for _ in METRICS]
    plain = to_dict(board)
    assert plain["objectives"] == [["top1", "max"], ["robust_top1", "max"]] and len(plain["front"]) == 16
    assert json.loads(front_to_json(board))["front"] == json.loads(json.dumps(plain["front"]))
    points = list(csv.DictReader(io.StringIO(front_to_csv(board))))
    assert list(points[0])[3:] == ["trial", "top1", "robust_top1", "on_front", "roles", "params"]
    assert list(to_dataframe(board)["choice"][:2]) == ["best_top1", "best_top1"]

    drive(make_book(resolved(), tmp_path), tmp_path)
    single = build(ResultsStore(tmp_path))
    assert "choice" not in to_csv(single).splitlines()[0] and "choice" not in to_dict(single)["rows"][0]
    assert not {"objectives", "front"} & set(to_dict(single)) and panels(single) == [single]


def test_tables_for_people_are_one_for_each_choice_and_metric(board: Leaderboard) -> None:
    text = to_markdown(board)
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == [f"## tiny, {role}, test {metric}" for role in ROLES for metric in METRICS]
    assert text.count("| digits | plain | ce |") == 6 and text.count("knee of the front") == 1
    assert to_latex(board).count(r"\begin{table}") == 6


def test_the_table_of_runs_has_both_scores(store: ResultsStore) -> None:
    finals = [row for row in runs_table(store) if row["role"] == "final" or row.get("test.top1")]
    assert finals and all(row["test.top1"] and row["test.robust_top1"] for row in finals)


def test_a_search_under_way_has_no_choice_yet(tmp_path: Path) -> None:
    study = resolved(FRONT, SEARCH)
    drive(make_book(study, tmp_path), tmp_path, limit=5)
    make_book(study, tmp_path)  # writes what is known
    board = build(ResultsStore(tmp_path))
    assert not board.complete and {row.mean for row in board.rows} == {None}
    assert {row.selection_rule for row in board.rows} == {"no configuration chosen yet"}
    assert sum(point.on_front for point in board.front) >= 2 and not any(point.roles for point in board.front)
    assert len(draw_front(board).axes) == 2


def test_views_of_a_cell(store: ResultsStore) -> None:
    cell = store.cell("digits--ce--plain")
    assert cell is not None and metrics_of(cell) == (("top1", "max"), ("robust_top1", "max"))
    seen = view(cell, "knee", "robust_top1")
    assert (seen.metric, seen.evaluation["evaluation"]["name"]) == ("robust_top1", "attack")
    assert seen.choice is not None and "knee" in seen.choice.roles and len(seen.finals) == 2
    assert panels_of((("top1", "max"),)) == [("", "top1", "max")]
    plain = cell.model_copy(update={"objectives": (), "choices": ()})
    assert view(plain, "", "top1") is plain and front_points(plain) == []


def test_the_figure_has_a_panel_by_cell_with_trials_front_and_choices(board: Leaderboard, tmp_path: Path) -> None:
    figure = draw_front(board)
    assert [axes.get_title() for axes in figure.axes] == ["digits · plain · ce", "digits · plain · core_tuning"]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("top1 (%)", "robust_top1 (%)")
    assert len(axes.collections[0].get_offsets()) == 8  # type: ignore[arg-type]
    front = sorted(point.scores["top1"] for point in board.front if point.on_front and point.method == "ce")
    assert list(axes.lines[0].get_xdata()) == front
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said[:2] == ["trials: validation", "their front"] and len(said) == 2 + 2 * len(ROLES)
    for name, begin in (("x.png", b"\x89PNG"), ("x.pdf", b"%PDF"), ("x.svg", b"<?xml")):
        write_front(board, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begin)


def test_what_has_no_front_is_refused(board: Leaderboard, tmp_path: Path) -> None:
    drive(make_book(resolved(), tmp_path), tmp_path)
    single = build(ResultsStore(tmp_path))
    with pytest.raises(RequestError, match=r"no front to draw: .* has one objective; objective\.metric: \[top1"):
        draw_front(single)
    assert nothing(board) == "no trial of a search has completed yet"
    with pytest.raises(RequestError, match="a figure is written as png, pdf, svg"):
        write_front(board, tmp_path / "x.jpg")
    with pytest.raises(RequestError, match="tiny has two objectives"):
        compare(ResultsStore(tmp_path), front_results(tmp_path / "other"))
