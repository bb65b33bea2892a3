from __future__ import annotations

from pathlib import Path

import pytest

from coretune.errors import StorageError
from coretune.results.cellfile import CellFile, TrialEntry
from coretune.results.proposals import NAME, drop_proposals, read_proposals
from coretune.results.store import ResultsStore


def trial(number: int, state: str = "running") -> TrialEntry:
    return TrialEntry.model_validate({"number": number, "params": {"lr": number / 8}, "runs": ("a",), "state": state})


def saved(store: ResultsStore, key: str, trials: int) -> CellFile:
    entries = tuple(trial(number, "completed") for number in range(trials))
    cell = CellFile(key=key, dataset="a", method="b", backbone="c", metric="top1", direction="max", trials=entries)
    store.put_cell(cell)
    return cell


def test_what_a_driver_proposed_last_belongs_to_its_searches(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    one, other = saved(store, "one", 2), saved(store, "other", 1)
    for key, number in (("one", 1), ("one", 2), ("other", 1), ("one", 3), ("gone", 0)):
        store.add_proposal(key, trial(number))
    with (tmp_path / NAME).open("a") as file:
        file.write('{"cell": "one", "tri')
    complete = one.replace(trials=(*one.trials, trial(2), trial(3)))
    assert store.cell("one") == complete, "trial 1 was there already"
    assert list(store.cells()) == [complete, other.replace(trials=(*other.trials, trial(1)))]
    assert store.cell("gone") is None and store.warnings == []
    store.put_cell(complete)
    assert store.cell("one") == complete
    store.drop_proposals()
    assert not (tmp_path / NAME).exists()
    assert list(store.cells()) == [complete, other]


def test_where_nothing_was_proposed_nothing_is_written(tmp_path: Path) -> None:
    assert read_proposals(tmp_path) == {}
    drop_proposals(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_or_removed_is_said(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    for attempt in (read_proposals, drop_proposals):
        with pytest.raises(StorageError, match=NAME):
            attempt(tmp_path)
