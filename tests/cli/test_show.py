from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coretune.results.cellfile import CellFile, Choice, FinalEntry, TrialEntry
from coretune.results.record import Cause, Evaluation, Record
from coretune.results.store import ResultsStore
from coretune.spec.components import Ref
from coretune.spec.run import EvalSpec
from coretune_cli.logs import tail
from coretune_cli.show import flat

GOOD, BAD, OPEN = "1" * 16, "2" * 16, "3" * 16


@pytest.fixture
def store(tmp_path: Path) -> ResultsStore:
    """A cell with a good and a diverged trial, and a run that has no record yet."""
    store = ResultsStore(tmp_path / "results" / "mine")
    trials = (
        TrialEntry(number=0, params={"train.lr": 0.03}, runs=(GOOD,), value=71.25, state="completed"),
        TrialEntry(number=1, params={"train.lr": 0.29}, runs=(BAD,), state="failed"),
    )
    store.put_cell(
        CellFile(
            key="digits--ce--net",
            dataset="digits",
            method="ce",
            backbone="net",
            metric="top1",
            direction="max",
            trials=trials,
            choice=Choice(trial=0, params={"train.lr": 0.03}, value=71.25, rule="best of 2"),
            finals=(FinalEntry(index=0, seed=7, run_id=OPEN),),
        )
    )
    times = {"started": "2026-11-24T12:00:00+00:00", "finished": "2026-11-24T12:00:09+00:00"}
    spec = {"method": {"name": "ce", "version": 1}, "train": {"lr": 0.03}, "seed": 5}
    metrics = {"last": {"top1": 71.25}}
    store.put_record(
        Record(run_id=GOOD, status="completed", spec=spec, metrics=metrics, timings={"total_s": 9.1}, **times)
    )
    cause = Cause(kind="diverged", message="the loss is not finite", epoch=3, step=41)
    store.put_record(Record(run_id=BAD, status="failed", cause=cause, spec=spec, **times))
    (store.run_folder(BAD) / "log.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    named = {"evaluation": {"name": "classification"}, "split": "test"}
    store.put_evaluation(
        Evaluation(eval_id="e" * 16, run_id=GOOD, spec=named, metrics={"top1": 70.5}, created=times["finished"])
    )
    store.run_folder(OPEN).mkdir()
    return store


def test_show_of_a_study(cli: Any, store: ResultsStore) -> None:
    said = cli("study", "show", "mine")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "digits--ce--net"
    assert any("→ 0" in line and "completed" in line and "71.2" in line and "train.lr 0.03" in line for line in lines)
    assert any("failed" in line and BAD in line for line in lines)
    assert any("trial 0, best of 2" in line for line in lines) and OPEN in said.out


def test_show_of_a_study_as_json_and_only_some_cells(cli: Any, store: ResultsStore) -> None:
    value = json.loads(cli("study", "show", "--json", "--only", "method=ce").out)
    assert value["cells"][0]["trials"][1]["state"] == "failed"
    said = cli("study", "show", "mine", "--only", "method=core")
    assert said.code == 2 and "one of ce" in said.err


def test_show_of_a_run(cli: Any, store: ResultsStore) -> None:
    said = cli("study", "show", "1111")
    assert said.code == 0
    for text in (GOOD, "completed", "train.lr", "last.top1", "evaluation classification on test", "70.5", "9s"):
        assert text in said.out
    assert "log" not in said.out


def test_show_of_a_failed_run_says_why_and_shows_the_end_of_its_log(cli: Any, store: ResultsStore) -> None:
    said = cli("study", "show", BAD)
    assert "diverged: the loss is not finite (epoch 3, step 41)" in said.out
    assert "line 99" in said.out and "line 79" not in said.out
    value = json.loads(cli("study", "show", str(store.run_folder(BAD)), "--json").out)
    assert value["record"]["cause"]["epoch"] == 3 and value["log"].endswith("line 99\n")


def test_show_of_a_run_without_a_record(cli: Any, store: ResultsStore) -> None:
    said = cli("study", "show", OPEN, "--out", "results/mine")
    assert said.code == 0 and "no record" in said.out


def test_show_of_a_corrupt_record(cli: Any, store: ResultsStore) -> None:
    path = store.run_folder(GOOD) / "record.json"
    path.write_text("{")
    said = cli("study", "show", GOOD)
    assert said.code == 0 and "no record" in said.out and "warning" in said.err and "record.json" in said.err
    assert path.read_text() == "{"


def test_show_of_a_run_has_its_metrics_by_epoch(cli: Any, store: ResultsStore) -> None:
    lines = [
        {"epoch": epoch, "knn_top1": 20.0 + epoch, "train": {"loss": 1.0}, "seconds": 9.0} for epoch in range(1, 31)
    ]
    for run_id in (GOOD, OPEN):
        (store.run_folder(run_id) / "metrics-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        said = cli("study", "show", run_id, "--out", "results/mine")
        table = said.out.partition("by epoch")[2].splitlines()[1:14]
        assert table[0].split() == ["epoch", "knn_top1"]
        assert (table[1].split(), table[-1].split()) == (["1", "21.0"], ["30", "50.0"]) and len(table) == 13
        value = json.loads(cli("study", "show", run_id, "--out", "results/mine", "--json").out)
        assert value["epochs"][3] == {"epoch": 4, "knn_top1": 24.0} and len(value["epochs"]) == 30


def test_only_makes_no_sense_for_a_run(cli: Any, store: ResultsStore) -> None:
    assert cli("study", "show", GOOD, "--only", "method=ce").code == 2


def test_logs(cli: Any, store: ResultsStore) -> None:
    assert cli("study", "logs", BAD[:6], "-n", "3").out == "line 97\nline 98\nline 99\n"
    assert len(cli("study", "logs", BAD).out.splitlines()) == 50
    assert len(cli("study", "logs", BAD, "-n", "0").out.splitlines()) == 100
    said = cli("study", "logs", GOOD)
    assert said.code == 2 and "has no log" in said.err


def test_tail_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"a\n\xff\xfe\n")
    assert tail(tmp_path / "log.txt", 1) == "\ufffd\ufffd\n"
    assert tail(tmp_path / "absent", 1) is None


def test_flat() -> None:
    assert flat({"a": {"b": 1.5, "c": {}}, "d": [1]}) == {"a.b": "1.5", "a.c": "{}", "d": "[1]"}


def test_leaderboard_of_the_store(cli: Any, store: ResultsStore) -> None:
    said = cli("leaderboard", "show", "mine")
    assert said.code == 0 and "ce" in said.out and "Not complete" in said.out
    assert json.loads(cli("leaderboard", "show", "mine", "--json").out)["rows"][0]["method"] == "ce"


def test_leaderboard_export(cli: Any, store: ResultsStore) -> None:
    header = cli("leaderboard", "export").out.splitlines()[0]
    assert header.startswith("dataset,backbone,method,")
    assert json.loads(cli("leaderboard", "export", "mine", "--format", "json").out)["schema_version"] == 1
    assert "| data set |" in cli("leaderboard", "export", "mine", "-f", "md").out
    said = cli("leaderboard", "export", "mine", "--output", "deep/board.md")
    assert said.code == 0 and said.out == "" and "| data set |" in Path("deep/board.md").read_text()


def test_leaderboard_export_to_an_impossible_place(cli: Any, store: ResultsStore) -> None:
    Path("file").write_text("")
    said = cli("leaderboard", "export", "mine", "--output", "file/board.csv")
    assert said.code == 3 and "file" in said.err and len(said.err.splitlines()) == 1


def test_show_of_a_run_lists_all_its_evaluations(cli: Any, store: ResultsStore) -> None:
    run_id = "4" * 16
    geometry = Ref(name="geometry", version=1, params={"per_class": 40})
    best = EvalSpec(evaluation=geometry, split="labelled", weights="best", limit=90)
    failing = EvalSpec(evaluation=Ref(name="mine", version=1))
    (cell,) = store.cells()
    specs = {"on_train": best, "broken": failing}
    store.put_cell(
        cell.replace(
            finals=(FinalEntry(index=0, seed=7, run_id=run_id),),
            evaluations={label: spec.model_dump(mode="json", exclude_defaults=True) for label, spec in specs.items()},
        )
    )
    good = store.record(GOOD)
    assert good is not None
    cause = Cause(kind="error", message="a bug of mine")
    store.put_record(good.replace(run_id=run_id, failed_evaluations={failing.eval_id(run_id): cause}))
    for spec, metrics in ((EvalSpec(evaluation=geometry), {"nc1": 0.25}), (best, {"nc1": 0.5})):
        store.put_evaluation(
            Evaluation(
                eval_id=spec.eval_id(run_id),
                run_id=run_id,
                spec=spec.model_dump(mode="json", exclude_defaults=True),
                metrics=metrics,
                created=good.finished,
            )
        )
    said = cli("study", "show", run_id)
    assert "evaluation on_train: geometry on labelled, best weights, limit 90, per_class 40" in said.out
    assert "evaluation geometry on test, per_class 40" in said.out, "the study of today does not ask for it"
    assert "nc1  0.25" in said.out and "nc1  0.5" in said.out
    assert "evaluation broken failed: error: a bug of mine" in said.out
    value = json.loads(cli("study", "show", run_id, "--json").out)
    assert {item["label"]: item["metrics"]["nc1"] for item in value["evaluations"]} == {None: 0.25, "on_train": 0.5}
