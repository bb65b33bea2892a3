"""Further evaluations of final runs: aggregated, paired, labelled; corruption errors relative to the baseline."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from support.evaluating import put, spec

from coretune.report.evaluated import EvaluatedRow, relative_mce
from coretune.report.export import evaluations_to_csv, to_dict
from coretune.report.leaderboard import build
from coretune.report.runs_table import runs_table
from coretune.report.statistics import compare_paired, summarise
from coretune.report.write import write
from coretune.results.cellfile import CellFile
from coretune.results.record import Evaluation
from coretune.spec.run import EvalSpec

CE = ({"snow": 10.0, "fog": 20.0}, {"snow": 12.0, "fog": 30.0}, {"snow": 11.0, "fog": 22.0})
CORE = ({"snow": 5.0, "fog": 20.0}, {"snow": 6.0, "fog": 15.0}, {"snow": 11.0, "fog": 33.0})


def corrupted(builder: Any, cell: CellFile, errors: tuple[dict[str, float], ...], which: EvalSpec) -> None:
    for final, means in zip(cell.finals, errors, strict=False):
        metrics = {"corruption_error": sum(means.values()) / 2, "clean_error": 5.0}
        put(builder, final.run_id, which, metrics, {"mean_error": means})


def row(rows: tuple[EvaluatedRow, ...], method: str, metric: str, evaluation: str = "corruptions") -> EvaluatedRow:
    return next(each for each in rows if (each.method, each.metric, each.evaluation) == (method, metric, evaluation))


@pytest.fixture
def cells(builder: Any) -> tuple[CellFile, CellFile]:
    builder.study()
    ce, core = (
        builder.cell("digits", "ce", [70.0, 71.0, 72.0]),
        builder.cell("digits", "core_tuning", [73.0, 74.0, 75.0]),
    )
    return ce, core


def test_rows_are_statistics_over_seeds_and_pairs(builder: Any, cells: tuple[CellFile, CellFile]) -> None:
    for cell, errors in zip(cells, (CE, CORE), strict=True):
        corrupted(builder, cell, errors, spec("corruptions"))
    found = build(builder.store).evaluations
    assert [(each.method, each.metric) for each in found] == [
        *(("ce", name) for name in ("corruption_error", "clean_error", "relative_mce")),
        *(("core_tuning", name) for name in ("corruption_error", "clean_error", "relative_mce")),
    ]
    theirs, mine = ([sum(means.values()) / 2 for means in errors] for errors in (CE, CORE))
    core, base = row(found, "core_tuning", "corruption_error"), row(found, "ce", "corruption_error")
    assert core.values == tuple(mine) and core.mean == summarise(mine).mean and core.stderr == summarise(mine).stderr
    compared = compare_paired(mine, theirs)
    assert (core.diff, core.p_paired_t, core.n_pairs) == (compared.difference, compared.p_t, 3)
    assert (base.diff, base.n_pairs) == (None, 0)
    assert core.seeds == tuple(final.seed for final in cells[1].finals)
    assert json.loads(core.spec) == {"evaluation": {"name": "corruptions", "version": 1}}


def test_relative_mce_is_the_mean_ratio_to_the_baseline_of_the_same_seed(
    builder: Any, cells: tuple[CellFile, CellFile]
) -> None:
    for cell, errors in zip(cells, (CE, CORE), strict=True):
        corrupted(builder, cell, errors, spec("corruptions"))
    found = build(builder.store).evaluations
    assert row(found, "ce", "relative_mce").values == (100.0, 100.0, 100.0)
    assert row(found, "core_tuning", "relative_mce").values == pytest.approx((75.0, 50.0, 125.0))
    assert row(found, "core_tuning", "relative_mce").diff is None


def test_a_corruption_on_which_the_baseline_has_no_error_is_left_out() -> None:
    def found(means: dict[str, float]) -> Evaluation:
        return Evaluation(eval_id="e", run_id="a", spec={}, metrics={}, details={"mean_error": means}, created="")

    assert relative_mce(found({"snow": 1.0, "fog": 5.0}), found({"snow": 2.0, "fog": 0.0})) == 50.0
    assert relative_mce(found({"snow": 1.0}), found({"snow": 0.0})) is None
    assert relative_mce(found({"snow": 1.0}), found({})) is None


def test_only_runs_that_have_the_evaluation_count(builder: Any, cells: tuple[CellFile, CellFile]) -> None:
    corrupted(builder, cells[1], CORE[:2], spec("corruptions"))
    found = build(builder.store).evaluations
    assert {each.method for each in found} == {"core_tuning"}
    assert row(found, "core_tuning", "clean_error").n == 2 and row(found, "core_tuning", "clean_error").n_pairs == 0
    assert not any(each.metric == "relative_mce" for each in found), "there is no baseline to be relative to"


def test_labels_are_the_studys_else_the_name_else_with_a_part_of_the_hash(
    builder: Any, cells: tuple[CellFile, CellFile]
) -> None:
    ce = cells[0]
    asked = spec("corruptions", limit=100)
    builder.store.put_cell(ce.replace(evaluations={"mine": asked.model_dump(mode="json")}))
    run_id = ce.finals[0].run_id
    kinds = [asked, spec("corruptions"), spec("calibration"), spec("attack", limit=5), spec("attack", limit=6)]
    for which in kinds:
        put(builder, run_id, which, {"value": 1.0}, {})
    found = [each.evaluation for each in build(builder.store).evaluations if each.metric == "value"]
    assert found[0] == "mine" and found[3:] == ["calibration", "corruptions"] and len(found) == 5
    assert len({name for name in found if name.startswith("attack-")}) == 2
    (line,) = (each for each in runs_table(builder.store) if each["run_id"] == run_id)
    assert {f"{name}.value" for name in found} <= set(line) and line["mine.value"] == 1.0
    assert line["test.top1"] == 70.0


def test_the_scoring_evaluation_is_no_further_one(builder: Any, cells: tuple[CellFile, CellFile]) -> None:
    assert build(builder.store).evaluations == ()
    assert write(builder.store).evaluations == () and not (builder.store.root / "evaluations.csv").exists()


def test_they_are_written_as_csv_and_json(builder: Any, cells: tuple[CellFile, CellFile]) -> None:
    for cell, errors in zip(cells, (CE, CORE), strict=True):
        corrupted(builder, cell, errors, spec("corruptions"))
    leaderboard = write(builder.store)
    text = (builder.store.root / "evaluations.csv").read_text()
    assert text == evaluations_to_csv(leaderboard)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert lines[0]["selection_rule"] == "best validation top1 of 2 trials; last epoch"
    assert len(lines) == 6 and json.loads(lines[0]["values"]) == [15.0, 21.0, 16.5] and lines[0]["diff"] == ""
    plain = json.loads(json.dumps(to_dict(leaderboard)))["evaluations"]
    assert [each["metric"] for each in plain] == [line["metric"] for line in lines]


def test_means_are_over_data_sets_that_all_methods_have(builder: Any) -> None:
    builder.study(datasets=["digits", "shapes", "marks"])
    errors = {
        ("digits", "ce"): (10.0, 20.0, 30.0),
        ("digits", "core_tuning"): (8.0, 14.0, 30.0),
        ("shapes", "ce"): (20.0, 20.0, 20.0),
        ("shapes", "core_tuning"): (10.0, 30.0),
        ("marks", "ce"): (90.0, 90.0, 90.0),
    }
    for dataset in ("digits", "shapes", "marks"):
        for method in ("ce", "core_tuning"):
            cell = builder.cell(dataset, method, [70.0, 71.0, 72.0])
            for final, error in zip(cell.finals, errors.get((dataset, method), ()), strict=False):
                details = {"mean_error": {"snow": error}}
                put(builder, final.run_id, spec("corruptions"), {"corruption_error": error}, details)
    leaderboard = write(builder.store)
    found = {(each.method, each.metric): each for each in leaderboard.evaluation_means}
    ce, core = found["ce", "corruption_error"], found["core_tuning", "corruption_error"]
    assert ce.values == (15.0, 20.0, 25.0) and core.values == (9.0, 22.0), "a seed needs a value on all data sets"
    assert ce.datasets == core.datasets == ("digits", "shapes")
    assert core.diff == compare_paired([9.0, 22.0], [15.0, 20.0]).difference and core.n_pairs == 2
    assert (ce.dataset, ce.kind, ce.diff) == ("mean", "mean", None)
    assert found["core_tuning", "relative_mce"].values == pytest.approx((65.0, 110.0))
    assert found["core_tuning", "relative_mce"].diff is None
    lines = list(csv.DictReader(io.StringIO((builder.store.root / "evaluations.csv").read_text())))
    assert [line["kind"] for line in lines] == ["cell"] * 10 + ["mean"] * 4
    assert json.loads(lines[-1]["datasets"]) == ["digits", "shapes"]
    assert len(to_dict(leaderboard)["evaluation_means"]) == 4


def test_each_row_says_which_weights_it_is_of_and_how_they_were_chosen(builder: Any) -> None:
    builder.study(datasets=["digits", "shapes"], methods=("ce",))
    for dataset, trials in (("digits", 2), ("shapes", 3)):
        cell = builder.cell(dataset, "ce", [70.0, 71.0], trials=trials)
        for final in cell.finals:
            for weights in ("best", "swad"):
                put(builder, final.run_id, spec("classification", weights=weights), {"top1": 1.0}, {})
            later = Evaluation(
                eval_id="later",
                run_id=final.run_id,
                spec={"evaluation": {"name": "classification", "version": 1}, "weights": "ema"},
                metrics={"top1": 1.0},
                created="",
            )
            builder.store.put_evaluation(later)
    board = build(builder.store)
    rules = {each.selection_rule for each in board.evaluations if each.dataset == "digits"}
    assert rules == {
        f"best validation top1 of 2 trials; {tested}"
        for tested in (
            "best epoch on validation",
            "average of the steps that SWAD finds by the loss on validation",
            "ema weights",
        )
    }
    said = {each.selection_rule for each in board.evaluation_means if '"best"' in each.spec}
    assert said == {" / ".join(f"best validation top1 of {n} trials; best epoch on validation" for n in (2, 3))}


def test_one_data_set_has_no_means(builder: Any, cells: tuple[CellFile, CellFile]) -> None:
    for cell, errors in zip(cells, (CE, CORE), strict=True):
        corrupted(builder, cell, errors, spec("corruptions"))
    found = build(builder.store)
    assert found.evaluation_means == () and {each.kind for each in found.evaluations} == {"cell"}
    assert row(found.evaluations, "core_tuning", "corruption_error").p_wilcoxon is not None


def test_of_segmentation_the_evaluation_that_scores_has_more_to_tell(builder: Any) -> None:
    builder.metric = "miou"
    builder.study(datasets=("streets",))
    for method, better in (("ce", 0.0), ("core_tuning", 5.0)):
        cell = builder.cell("streets", method, [40.0 + better, 42.0 + better])
        for final, miou in zip(cell.finals, (40.0, 42.0), strict=True):
            own = {"miou": miou + better, "pixel_accuracy": 80.0 + better, "iou_sky": 90.0}
            put(builder, final.run_id, builder.evaluation, own, {})
            put(builder, final.run_id, spec("segmentation", params={"flip": True}), own, {})
    board = build(builder.store)
    assert [each.mean for each in board.rows] == [41.0, 46.0]
    assert [each.metric for each in board.evaluations if (each.evaluation, each.method) == ("test", "ce")] == [
        "pixel_accuracy",
        "iou_sky",
    ]
    mine = row(board.evaluations, "core_tuning", "pixel_accuracy", "test")
    assert (mine.mean, mine.diff, mine.n_pairs) == (85.0, 5.0, 2)
    assert row(board.evaluations, "ce", "miou", "segmentation").mean == 41.0  # a further one has its miou, too
    assert {"test.miou", "test.pixel_accuracy", "test.iou_sky"} <= set(runs_table(builder.store)[0])


def test_a_class_that_the_first_run_lacks_keeps_its_place(builder: Any) -> None:
    builder.metric = "miou"
    builder.study(datasets=("streets",))
    cell = builder.cell("streets", "ce", [40.0, 42.0])
    classes = ({"iou_0": 1.0, "iou_2": 1.0}, {"iou_0": 1.0, "iou_1": 1.0, "iou_2": 1.0})
    for final, own in zip(cell.finals, classes, strict=True):
        put(builder, final.run_id, builder.evaluation, {"miou": 40.0, **own}, {})
    assert [each.metric for each in build(builder.store).evaluations] == ["iou_0", "iou_1", "iou_2"]
