from __future__ import annotations

from typing import Any

import pytest

from coretune.results.cellfile import CellFile, FinalEntry, TrialEntry
from coretune.results.record import Cause, Record
from coretune.results.retry import (
    Keep,
    deletable_weights,
    is_finished,
    needed_weights,
    should_evaluate,
    should_train,
)
from coretune.spec.components import Ref
from coretune.spec.run import EvalSpec

TIME = "2026-01-01T00:00:00.000+00:00"


def record(run_id: str = "a", status: str = "completed", cause: str | None = None, task: str | None = None) -> Record:
    said: dict[str, Any] = {"cause": None if cause is None else Cause(kind=cause, message="")}  # type: ignore[arg-type]
    spec = {} if task is None else {"task": task}
    return Record.model_validate(
        {"run_id": run_id, "status": status, "spec": spec, "started": TIME, "finished": TIME, **said}
    )


@pytest.mark.parametrize(
    ("found", "by_itself", "on_request"),
    [
        (None, True, True),
        (record(status="completed"), False, False),
        (record(status="pruned"), False, False),
        (record(status="failed", cause="environment"), True, True),
        (record(status="failed", cause="diverged"), False, True),
        (record(status="failed", cause="out_of_memory"), False, True),
        (record(status="failed", cause="invalid"), False, True),
        (record(status="failed", cause="error"), False, True),
        (record(status="failed"), False, True),
    ],
)
def test_what_a_resume_trains(found: Record | None, by_itself: bool, on_request: bool) -> None:
    assert should_train(found, retry_failed=False) is by_itself
    assert should_train(found, retry_failed=True) is on_request


@pytest.mark.parametrize(
    ("cause", "by_itself"), [(None, True), ("environment", True), ("error", False), ("out_of_memory", False)]
)
def test_what_a_resume_evaluates(cause: str | None, by_itself: bool) -> None:
    causes = {} if cause is None else {"e": Cause(kind=cause, message="")}  # type: ignore[arg-type]
    found = record().replace(failed_evaluations=causes)
    assert should_evaluate(found, "e", retry_failed=False) is by_itself
    assert should_evaluate(found, "e", retry_failed=True) and should_evaluate(found, "other", retry_failed=False)


def test_the_weights_that_an_evaluation_needs() -> None:
    last = EvalSpec(evaluation=Ref(name="x", version=1))
    best = last.replace(weights="best")
    assert needed_weights([], keep=False) == set() and needed_weights([], keep=True) == {"last"}
    assert needed_weights([best], keep=False) == {"best"}
    assert needed_weights([best], keep=True) == needed_weights([best, last], keep=False) == {"last", "best"}


def cell(finals: tuple[str, ...] = ("f0", "f1"), state: str = "completed") -> CellFile:
    return CellFile(
        key="a--b--c", dataset="a", method="b", backbone="c", metric="top1", direction="max",
        trials=(TrialEntry(number=0, params={}, runs=("t",), state=state),),  # type: ignore[arg-type]
        finals=tuple(FinalEntry(index=index, seed=index, run_id=run_id) for index, run_id in enumerate(finals)),
    )  # fmt: skip


RECORDS = {
    "p": record("p", task="pretraining"),
    "t": record("t"),
    "f0": record("f0"),
    "f1": record("f1"),
    "bad": record("bad", "failed", "diverged"),
}


@pytest.mark.parametrize(("keep", "expected"), [("all", set()), ("finals", {"t"}), ("none", {"t", "f0", "f1", "p"})])
def test_when_all_is_done(keep: Keep, expected: set[str]) -> None:
    assert deletable_weights(keep, [cell()], RECORDS) == expected


@pytest.mark.parametrize(
    "cells",
    [
        [cell(state="running")],
        [cell(finals=())],
        [cell(finals=("f0", "f1", "f2"))],
        [cell(), cell(finals=())],
        [cell(finals=("f0", "lost"))],
        [],
    ],
)
def test_while_something_is_unfinished_pretrainings_and_finals_stay(cells: list[CellFile]) -> None:
    records = {**RECORDS, "lost": record("lost", "failed", "environment")}
    for keep in ("finals", "none"):
        deletable = deletable_weights(keep, cells, records)  # type: ignore[arg-type]
        assert "p" not in deletable
        assert not deletable & {final.run_id for each in cells for final in each.finals}
        assert "t" in deletable


def test_the_final_runs_of_an_earlier_choice_are_kept_with_finals() -> None:
    assert deletable_weights("finals", [cell()], RECORDS, evaluated=["t"]) == set()
    assert deletable_weights("none", [cell()], RECORDS, evaluated=["t"]) == {"t", "f0", "f1", "p"}


def test_a_cell_that_is_not_begun_may_still_need_its_pretraining() -> None:
    key = cell().key
    assert deletable_weights("none", [cell()], RECORDS, asked=[key]) == {"t", "f0", "f1", "p"}
    assert deletable_weights("none", [cell()], RECORDS, asked=[key, "another"]) == {"t"}


def test_a_cell_is_finished_with_its_last_final_run() -> None:
    assert is_finished(cell(), RECORDS)
    assert is_finished(cell(finals=("f0", "bad")), RECORDS), "it failed for good"
    assert not is_finished(cell(finals=("f0", "f9")), RECORDS)
