"""The best final run: by the validation part, among those whose weights were kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coretune.errors import RequestError
from coretune.results.cellfile import CellFile, FinalEntry
from coretune.results.finals import best_final
from coretune.results.record import Record
from coretune.results.store import ResultsStore

TIME = "2026-01-01T00:00:00.000+00:00"


def put(store: ResultsStore, key: str, values: dict[str, float], **changes: Any) -> None:
    """A cell whose final runs have these values on validation, of the last and of the best weights."""
    dataset, method, backbone = key.split("--")
    cell = {"metric": "top1", "direction": "max", **changes}
    finals = tuple(FinalEntry(index=i, seed=i, run_id=run_id) for i, run_id in enumerate(values))
    store.put_cell(CellFile(key=key, dataset=dataset, method=method, backbone=backbone, finals=finals, **cell))
    for run_id, value in values.items():
        metrics = {"last": {cell["metric"]: value}, "best": {cell["metric"]: -value}}
        store.put_record(
            Record(run_id=run_id, status="completed", spec={}, metrics=metrics, started=TIME, finished=TIME)
        )
        store.weights_path(run_id).write_bytes(b"")
        store.weights_path(run_id, "best").write_bytes(b"")


def test_the_best_on_validation_is_taken_whatever_its_cell(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    put(store, "d--a--b", {"aa": 50.0, "ab": 60.0})
    put(store, "d--b--b", {"ba": 70.0, "bb": 70.0})
    found = best_final(store)
    assert (found.run.run_id, found.run.cell, found.run.index, found.run.value) == ("ba", "d--b--b", 0, 70.0)
    assert found.of == 4 and found.run.weights == "last"


def test_lower_is_better_where_the_study_says_so_and_best_weights_where_it_tests_them(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    values = {"aa": 0.5, "ab": 0.4}
    put(store, "d--a--b", values, metric="cross_entropy", direction="min", evaluation={"weights": "best"})
    assert (best_final(store).run.run_id, best_final(store).run.weights) == ("aa", "best"), "-0.5 is the least"


def test_runs_without_weights_record_or_success_are_passed_over(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    put(store, "d--a--b", {"aa": 50.0, "ab": 60.0, "ac": 70.0, "ad": 80.0})
    store.drop_weights("ad")
    (store.run_folder("ac") / "record.json").unlink()
    record = store.record("ab")
    assert record is not None
    store.put_record(record.replace(status="failed"))
    assert best_final(store).run.run_id == "aa" and best_final(store).of == 1


def test_where_there_is_none_it_is_said_why(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    with pytest.raises(RequestError, match="it has no completed final run; name a run with --run ID"):
        best_final(store)
    put(store, "d--a--b", {"aa": 50.0})
    store.drop_weights("aa")
    with pytest.raises(RequestError, match="the weights of its 1 final runs were not kept"):
        best_final(store)
