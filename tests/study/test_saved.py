"""What an earlier session left is used as far as it is of this study, and nothing of it is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.driving import answer, drive, lr_score, make_book, resolved

from coretune.results.cellfile import CellFile
from coretune.results.record import Record
from coretune.results.store import ResultsStore
from coretune.runs.job import Job
from coretune.study.book import CellBook

TPE = ("search.sampler=tpe", "search.trials=5", "methods=[ce]")
KEY = "digits--ce--plain"


def choices(book: CellBook) -> list[tuple[int, float | None]]:
    return [(cell.choice.trial, cell.choice.value) for cell in book.cells if cell.choice is not None]


def events(book: CellBook) -> list[str]:
    return [event["text"] for event in book._events.newest()]


def cell_file(root: Path) -> CellFile:
    found = ResultsStore(root).cell(KEY)
    assert found is not None
    return found


def other_metrics(root: Path) -> None:
    """Gives each record a cross-entropy of which the worst top-1 has the best."""
    store = ResultsStore(root)
    for record in list(store.records()):
        last = {**record.metrics["last"], "cross_entropy": record.metrics["last"]["top1"] / 100}
        store.put_record(record.replace(metrics={**record.metrics, "last": last}))


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_another_objective_chooses_by_its_own_scores_and_trains_no_trial_again(root: Path, sampler: str) -> None:
    sets = ("methods=[ce]", f"search.sampler={sampler}", "search.trials=5")
    first = make_book(resolved(*sets), root)
    drive(first, root)
    other_metrics(root)
    again = make_book(resolved(*sets, "objective.metric=cross_entropy"), root)
    (cell,) = again.cells
    scores = [100 - abs(trial.params["train.lr"] - 0.02) * 100 for trial in cell.trials]
    assert cell.choice is not None and cell.choice.rule == "best validation cross_entropy of 5 trials"
    assert cell.choice.trial == scores.index(min(scores)) != first.cells[0].choice.trial  # type: ignore[union-attr]
    assert cell.choice.value == pytest.approx(min(scores) / 100)
    assert set(drive(again, root)) == {final.spec.run_id for final in cell.finals}


def test_other_weights_have_other_scores(root: Path) -> None:
    drive(make_book(resolved(*TPE), root), root)
    store = ResultsStore(root)
    for record in list(store.records()):
        best = {**record.metrics["best"], "top1": 100 - record.metrics["best"]["top1"]}
        store.put_record(record.replace(metrics={**record.metrics, "best": best}))
    (cell,) = make_book(resolved(*TPE, "finals.weights=best"), root).cells
    assert cell.choice is not None and cell.choice.value == max(100 - lr_score(Job(t.runs[0])) for t in cell.trials)


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
@pytest.mark.parametrize("change", ["train.epochs=5", "seed=4", "train.lr={log_uniform: [0.2, 0.3], default: 0.25}"])
def test_another_recipe_and_back_again_loses_nothing(root: Path, change: str, sampler: str) -> None:
    sets = ("methods=[ce]", f"search.sampler={sampler}", "search.trials=5")
    first = make_book(resolved(*sets), root)
    drive(first, root)
    before = cell_file(root)
    between = make_book(resolved(*sets, change), root)
    assert [text for text in events(between) if KEY in text and "kept as search.json.earlier-" in text]
    drive(between, root)
    (aside,) = (root / "cells" / KEY).glob("search.json.earlier-*")
    assert CellFile.model_validate_json(aside.read_bytes()) == before
    back = make_book(resolved(*sets), root)
    assert drive(back, root) == []
    assert choices(back) == choices(first)


def test_a_changed_number_of_trials_is_no_other_study(root: Path) -> None:
    drive(make_book(resolved(*TPE), root), root)
    before = cell_file(root)
    smaller = make_book(resolved(*TPE, "search.trials=2"), root)
    drive(smaller, root)
    assert len(smaller.cells[0].trials) == 2 and cell_file(root).trials == before.trials
    back = make_book(resolved(*TPE), root)
    assert drive(back, root) == []
    assert cell_file(root).trials == before.trials


def test_a_search_file_with_a_gap_is_set_aside_and_made_again(root: Path) -> None:
    first = make_book(resolved(*TPE), root)
    drive(first, root)
    path = root / "cells" / KEY / "search.json"
    raw = json.loads(path.read_text())
    del raw["trials"][1]
    path.write_text(json.dumps(raw))
    again = make_book(resolved(*TPE), root)
    assert [text for text in events(again) if "a trial is missing; kept as" in text]
    assert drive(again, root) == [], "asked one by one, it proposes what is recorded"
    assert choices(again) == choices(first)


def test_a_rebuilt_search_begins_with_the_defaults_even_if_their_record_is_lost(root: Path) -> None:
    first = make_book(resolved(*TPE), root)
    drive(first, root)
    default = first.cells[0].trials[0]
    (root / "cells" / KEY / "search.json").unlink()
    (root / "runs" / default.runs[0].run_id / "record.json").unlink()
    again = make_book(resolved(*TPE), root)
    assert again.cells[0].trials[0].params == default.params and again.cells[0].trials[0].state == "running"
    assert len(again.cells[0].trials) == 5
    assert drive(again, root)[0] == default.runs[0].run_id


@pytest.mark.parametrize("metrics", [{}, {"last": {}}, {"last": {"mean_per_class": 3.0}}])
def test_a_completed_record_without_its_score_is_set_aside_and_made_again(root: Path, metrics: dict[str, Any]) -> None:
    first = make_book(resolved(*TPE), root)
    drive(first, root)
    run_id = first.cells[0].trials[2].runs[0].run_id
    store = ResultsStore(root)
    record = store.record(run_id)
    assert record is not None
    store.put_record(record.replace(metrics=metrics))
    again = make_book(resolved(*TPE), root)
    assert drive(again, root) == [run_id]
    assert list((root / "runs" / run_id).glob("record.json.corrupt-*"))
    assert choices(again) == choices(first)


def test_a_run_that_ends_with_a_record_without_a_score_is_tried_again(root: Path) -> None:
    book = make_book(resolved(*TPE), root)
    job = book.next_job()
    assert job is not None
    answer(ResultsStore(root), job, 50.0)
    store = ResultsStore(root)
    found: Record | None = store.record(job.spec.run_id)
    assert found is not None
    store.put_record(found.replace(metrics={}))
    assert book.on_finished(job.spec.run_id, ended=True) is None
    assert book.next_job() == job


def test_the_pruner_sees_the_epochs_of_recorded_runs(root: Path) -> None:
    """Also of runs that another directory lent, and of another objective than they were searched for."""
    drive(make_book(resolved(*TPE), root), root)
    for path in (root / "runs").iterdir():
        lines = [{"epoch": e, "top1": 10.0 * e, "cross_entropy": 1.0 / e, "train": {}, "seconds": 1} for e in (1, 2)]
        (path / "metrics-0.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"epoch": 3, "to')
    (root / "cells" / KEY / "search.json").unlink()
    (cell,) = make_book(resolved(*TPE, "search.pruner=median"), root).cells
    assert [trial.intermediate for trial in cell.trials] == [{1: 10.0, 2: 20.0}] * 5
    (cell,) = make_book(resolved(*TPE, "search.pruner=median", "objective.metric=cross_entropy"), root).cells
    assert [trial.intermediate for trial in cell.trials] == [{1: 1.0, 2: 0.5}] * 5


def test_repeats_are_what_the_pruner_sees(root: Path) -> None:
    sets = (*TPE, "search.repeats=2")
    first = make_book(resolved(*sets), root)
    drive(first, root)
    again = make_book(resolved(*sets), root)
    for one, other in zip(first.cells[0].trials, again.cells[0].trials, strict=True):
        assert other.intermediate == one.intermediate or set(other.intermediate) == {1, 2}
        assert (other.value, other.values) == (one.value, one.values)
