from __future__ import annotations

from coretune.report.reader import flatten_spec
from coretune.report.runs_table import FIRST, LAST, runs_table
from coretune.results.cellfile import TrialEntry
from coretune.spec.components import Ref
from coretune.spec.resolve import TAKEN
from coretune.spec.run import EvalSpec


def test_one_row_per_run_with_its_role(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, "failed"], trials=2)
    cell = builder.cell("digits", "core_tuning", [71.0, "unfinished"], params={"train.lr": 0.02, "method.eta": 0.3})
    spec = builder.spec("digits", "moco_v2", "net", {}, 5).replace(task="pretraining")
    builder.record(spec, metrics={"last": {"loss": 2.5}, "train": {"loss": 2.4}})
    stray = builder.record(builder.spec("digits", "ce", "net", {"train.lr": 0.5}, 6))
    table = {row["run_id"]: row for row in runs_table(builder.store)}
    assert len(table) == 2 + 2 + 2 + 1 + 1 + 1
    final = table[cell.finals[0].run_id]
    assert (final["role"], final["cell"], final["index"]) == ("final", "digits--core_tuning--net", 0)
    assert final["seed"] == cell.finals[0].seed
    assert final["test.top1"] == 71.0
    assert (final["validation.last.top1"], final["validation.best.epoch"]) == (70.0, 4.0)
    assert (final["method"], final["method.eta"], final["train.lr"]) == ("core_tuning", 0.3, 0.02)
    assert (final["seconds"], final["host"]) == (12.5, "node-1")
    assert final["started"] < final["finished"]
    search = table[cell.trials[1].runs[0]]
    assert (search["role"], search["index"], search["train.lr"], search["test.top1"]) == ("search", 1, 0.02, None)
    assert (table[spec.run_id]["role"], table[spec.run_id]["validation.last.loss"]) == ("prepare", 2.5)
    assert table[spec.run_id]["metrics.train.loss"] == 2.4 and final["metrics.train.loss"] is None
    assert table[stray]["role"] == "other" and table[stray]["cell"] is None
    failed = [row for row in table.values() if row["status"] == "failed"]
    assert [row["cause"] for row in failed] == ["diverged: the loss is nan"]


def test_only_fields_that_vary_are_columns(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, 71.0])
    columns = list(runs_table(builder.store)[0])
    assert columns[: len(FIRST)] == list(FIRST) and columns[-len(LAST) :] == list(LAST)
    assert [name for name in columns if name.startswith(("train.", "data.", "method", "backbone"))] == ["train.lr"]


def test_a_default_is_not_hashed_but_shown(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [], trials=0)
    default = builder.record(builder.spec("digits", "ce", "net", {}, 1))
    other = builder.record(builder.spec("digits", "ce", "net", {"train.lr": 0.2, "train.epochs": 5}, 2))
    table = {row["run_id"]: row for row in runs_table(builder.store)}
    assert (table[default]["train.lr"], table[default]["train.epochs"]) == (0.01, 100)
    assert (table[other]["train.lr"], table[other]["train.epochs"]) == (0.2, 5)


def test_a_searched_default_of_a_method_is_shown(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "core_tuning", None, trials=0)
    run_id = builder.record(builder.spec("digits", "core_tuning", "net", {}, 1))
    other = builder.record(builder.spec("digits", "core_tuning", "net", {"method.eta": 0.5}, 1))
    trials = (
        TrialEntry(number=0, params={"method.eta": 0.1}, runs=(run_id,)),
        TrialEntry(number=1, params={"method.eta": 0.5}, runs=(other,)),
    )
    builder.store.put_cell(cell.replace(trials=trials))
    assert {row["method.eta"] for row in runs_table(builder.store)} == {0.1, 0.5}


def test_a_run_of_two_trials_names_both_once(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "ce", None, trials=2)
    twin = cell.trials[1].replace(number=7)
    builder.store.put_cell(cell.replace(trials=(*cell.trials, twin)))
    table = runs_table(builder.store)
    assert len(table) == 2
    assert sorted(str(row["index"]) for row in table) == ["0", "1 7"]
    assert {row["cell"] for row in table} == {cell.key}


def test_seconds_without_a_timing_are_the_time_between(builder) -> None:
    builder.record(builder.spec("digits", "ce", "net", {}, 1), timings={})
    builder.record(builder.spec("digits", "ce", "net", {}, 2), timings={}, notes=("x",))
    assert [row["seconds"] for row in runs_table(builder.store)] == [13.0, 13.0]


def test_no_runs(builder) -> None:
    assert runs_table(builder.store) == []


def test_flattening_names_components_as_studies_do(builder) -> None:
    spec = builder.spec("digits", "core_tuning", "net", {"method.eta": 0.3, "train.lr": 0.5}, 3)
    spec = spec.replace(backbone=spec.backbone.replace(arch=Ref(name="net", version=2, params={"width": 8})))
    flat = flatten_spec(spec.canonical())
    assert flat["method"] == "core_tuning" and flat["method.eta"] == 0.3 and flat["method.version"] == 1
    assert flat["backbone.arch"] == "net" and flat["backbone.arch.width"] == 8
    assert flat["train.lr"] == 0.5 and flat["data.dataset"] == "digits" and flat["seed"] == 3


def test_further_evaluations_are_columns_of_the_final_runs(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "ce", [70.0, 71.0], trials=1)
    spec = EvalSpec(evaluation=Ref(name="geometry", version=1), split="labelled")
    unread = {"evaluation": "nothing"}
    builder.store.put_cell(cell.replace(evaluations={"train": unread, "mine": spec.model_dump(mode="json")}))
    first, second = (final.run_id for final in cell.finals)
    builder.evaluate(first, 4.5, spec)
    builder.evaluate(second, 9.0, spec.replace(limit=5))  # another evaluation, that the study does not ask for
    table = {row["run_id"]: row for row in runs_table(builder.store)}
    assert (table[first]["mine.top1"], table[first]["test.top1"]) == (4.5, 70.0)
    assert (table[second]["mine.top1"], table[second]["test.top1"]) == (None, 71.0)
    assert table[cell.trials[0].runs[0]]["mine.top1"] is None
    columns = list(table[first])
    assert columns.index("test.other") < columns.index("mine.top1") < columns.index("seconds")


def test_no_column_stands_for_two_things(builder) -> None:
    """A label of an evaluation is refused where the table has other columns below it."""
    builder.study()
    builder.cell("digits", "ce", [70.0])
    params = {"train.lr": 0.02, "method.eta": 0.3}
    builder.cell("digits", "core_tuning", [71.0], params=params, backbone="other")
    builder.record(builder.spec("shapes", "ce", "net", {}, 5).replace(task="pretraining"), metrics={"train": {"x": 1}})
    dotted = {name.partition(".")[0] for name in runs_table(builder.store)[0] if "." in name}
    assert {"train", "test", "validation", "metrics", "method", "data", "backbone"} >= dotted <= set(TAKEN)
