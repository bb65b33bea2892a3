from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coretune.errors import StorageError
from coretune.results.cellfile import CellFile
from coretune.results.record import Evaluation, Record
from coretune.results.store import ResultsStore

TIME = "2026-01-01T00:00:00.000+00:00"


def record(run_id: str, **changes: Any) -> Record:
    said = {"run_id": run_id, "status": "completed", "spec": {"seed": 1}, "started": TIME, "finished": TIME, **changes}
    return Record.model_validate(said)


def evaluation(run_id: str, eval_id: str) -> Evaluation:
    return Evaluation(eval_id=eval_id, run_id=run_id, spec={}, metrics={"top1": 50.0}, created=TIME)


def cell(key: str) -> CellFile:
    dataset, method, backbone = key.split("--")
    return CellFile(key=key, dataset=dataset, method=method, backbone=backbone, metric="top1", direction="max")


def test_what_is_put_is_read(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path / "results")
    assert (
        store.record("a") is None
        and store.run_ids() == []
        and list(store.records()) == []
        and list(store.cells()) == []
    )
    for run_id in ("b", "a"):
        store.put_record(record(run_id))
    store.put_evaluation(evaluation("a", "e2"))
    store.put_evaluation(evaluation("a", "e1"))
    store.put_cell(cell("x--y--z"))
    store.put_json("state.json", {"τ": [1, None]})
    again = ResultsStore(str(tmp_path / "results"))
    assert [found.run_id for found in again.records()] == ["a", "b"]
    assert [found.eval_id for found in again.evaluations("a")] == ["e1", "e2"]
    assert again.evaluation_ids("a") == ["e1", "e2"] and again.evaluation_ids("b") == []
    assert again.evaluation("a", "e1") == evaluation("a", "e1")
    assert again.evaluation("b", "e1") is None
    assert list(again.cells()) == [again.cell("x--y--z")] == [cell("x--y--z")]
    assert again.json("state.json") == {"τ": [1, None]}
    assert again.json("manifest.json") is None
    assert again.warnings == []


CORRUPT = [b"", b"{", b"\xff\x00", b"[]", b'{"run_id": "a"}', b'{"schema_version": 0}', b"null"]


@pytest.mark.parametrize("content", CORRUPT)
def test_a_corrupt_file_is_left_out_and_the_others_are_read(tmp_path: Path, content: bytes) -> None:
    store = ResultsStore(tmp_path)
    for run_id in ("a", "b"):
        store.put_record(record(run_id))
    store.put_cell(cell("x--y--z"))
    store.put_cell(cell("x--y--w"))
    broken = [store.run_folder("a") / "record.json", tmp_path / "cells" / "x--y--z" / "search.json"]
    for path in broken:
        path.write_bytes(content)
    for _ in range(2):
        assert [found.run_id for found in store.records()] == ["b"]
        assert [found.key for found in store.cells()] == ["x--y--w"]
    assert len(store.warnings) == 2
    assert all("left out" in line and "\n" not in line for line in store.warnings)
    assert all(path.read_bytes() == content for path in broken)


@pytest.mark.parametrize("content", CORRUPT)
def test_repair_sets_aside_and_makes_room(tmp_path: Path, content: bytes) -> None:
    store = ResultsStore(tmp_path, repair=True)
    path = store.run_folder("a") / "record.json"
    store.put_record(record("a"))
    path.write_bytes(content)
    assert store.record("a") is None
    assert not path.exists()
    (aside,) = path.parent.glob("record.json.corrupt-*")
    assert aside.read_bytes() == content
    assert aside.name in store.warnings[0]
    store.put_record(record("a"))
    assert store.record("a") == record("a")


def test_corrupt_state_is_absent(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"schema_version": 1, ')
    assert ResultsStore(tmp_path).json("state.json") is None
    assert (tmp_path / "state.json").exists()
    assert ResultsStore(tmp_path, repair=True).json("state.json") is None
    assert not (tmp_path / "state.json").exists()


def test_a_record_in_another_runs_folder_is_no_record_of_it(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    store.put_record(record("a"))
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "record.json").write_bytes((store.run_folder("a") / "record.json").read_bytes())
    assert store.record("b") is None
    assert "of the run a" in store.warnings[0]


@pytest.mark.parametrize("repair", [False, True])
def test_a_later_format_is_not_corrupt(tmp_path: Path, repair: bool) -> None:
    store = ResultsStore(tmp_path, repair=repair)
    store.put_record(record("a"))
    path = store.run_folder("a") / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2, "new": 1}))
    with pytest.raises(StorageError, match="has format 2, this coretune reads up to 1: use a newer coretune"):
        store.record("a")
    assert path.exists()


def test_what_cannot_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    (store.run_folder("a") / "record.json").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"record.json"):
        store.record("a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "runs").write_text("")
    with pytest.raises(StorageError, match="runs"):
        ResultsStore(tmp_path / "other").run_ids()


def test_paths(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    assert store.weights_path("a") == tmp_path / "runs" / "a" / "model.safetensors"
    assert store.weights_path("a", "best").name == "best.safetensors"
    assert store.state_folder("a") == tmp_path / "runs" / "a" / "state"


def neighbour(tmp_path: Path, **changes: Any) -> ResultsStore:
    store = ResultsStore(tmp_path / "theirs")
    store.put_json("manifest.json", {})
    store.put_record(record("a", **changes))
    store.put_evaluation(evaluation("a", "e"))
    folder = store.run_folder("a")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / ".model.safetensors.1.tmp").write_bytes(b"half")
    (folder / "state").mkdir()
    (folder / "state" / "state.pt").write_bytes(b"state")
    return store


def test_a_run_is_adopted_from_a_neighbour(tmp_path: Path) -> None:
    neighbour(tmp_path)
    store = ResultsStore(tmp_path / "ours")
    assert store.adopt("a", weights=True)
    assert store.record("a") == record("a")
    assert store.evaluation("a", "e") == evaluation("a", "e")
    assert store.weights_path("a").read_bytes() == b"weights"
    found = {
        str(path.relative_to(store.run_folder("a"))) for path in store.run_folder("a").rglob("*") if path.is_file()
    }
    assert found == {"record.json", "evals/e.json", "model.safetensors"}
    assert not store.adopt("b")


@pytest.mark.parametrize("status", ["pruned", "failed"])
def test_only_a_completed_run_is_adopted(tmp_path: Path, status: str) -> None:
    neighbour(tmp_path, status=status)
    assert not ResultsStore(tmp_path / "ours").adopt("a")
    assert not (tmp_path / "ours").exists()


def test_a_run_without_weights_is_adopted_only_where_none_are_needed(tmp_path: Path) -> None:
    neighbour(tmp_path).weights_path("a").unlink()
    store = ResultsStore(tmp_path / "ours")
    assert not store.adopt("a", weights=True)
    assert store.adopt("a")


def test_a_folder_that_is_no_results_directory_lends_nothing(tmp_path: Path) -> None:
    (neighbour(tmp_path).root / "manifest.json").unlink()
    assert not ResultsStore(tmp_path / "ours").adopt("a")


def test_a_directory_does_not_adopt_from_itself(tmp_path: Path) -> None:
    assert not neighbour(tmp_path).adopt("a")


def test_a_neighbour_that_cannot_be_read_is_said_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken" / "runs" / "a" / "record.json").mkdir(parents=True)
    (tmp_path / "broken" / "manifest.json").write_text("{}")
    neighbour(tmp_path)
    store = ResultsStore(tmp_path / "ours")
    assert store.adopt("a")
    assert "broken" in store.warnings[0]


def test_an_interrupted_adoption_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour(tmp_path)
    store = ResultsStore(tmp_path / "ours")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copy2", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        store.adopt("a")
    assert store.record("a") is None
