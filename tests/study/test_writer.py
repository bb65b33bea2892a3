from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import wait_until
from support.driving import drive, make_book, resolved

from coretune.errors import LockedError, StorageError
from coretune.results.lock import DirectoryLock
from coretune.results.store import ResultsStore
from coretune.study import writer as module
from coretune.study.book import CellBook
from coretune.study.events import EventLog
from coretune.study.journal import is_journal
from coretune.study.progress import Progress
from coretune.study.writer import StudyWriter


@pytest.fixture
def lock(root: Path) -> Iterator[DirectoryLock]:
    with DirectoryLock(root) as held:
        yield held


@pytest.fixture
def book(root: Path, lock: DirectoryLock) -> CellBook:
    return make_book(resolved(), root)


@pytest.fixture
def writer(root: Path, lock: DirectoryLock, book: CellBook, monkeypatch: pytest.MonkeyPatch) -> StudyWriter:
    monkeypatch.setattr(module, "STATE_EVERY_S", 0.02)
    progress = Progress(book, EventLog(root / "log.txt"), results=str(root), slots=1)
    return StudyWriter(ResultsStore(root), book, progress, lock)


def test_the_state_is_written_every_two_seconds() -> None:
    assert module.STATE_EVERY_S == 2.0


def test_the_state_is_kept_fresh_until_the_end(writer: StudyWriter, root: Path) -> None:
    def updated() -> str:
        return str(json.loads((root / "state.json").read_text())["updated"])

    with writer:
        wait_until((root / "state.json").exists, timeout=5)
        first = updated()
        wait_until(lambda: updated() > first, timeout=5)
    assert writer.failure is None
    last = updated()
    time.sleep(0.1)
    assert updated() == last
    assert not [thread for thread in threading.enumerate() if thread.name == "coretune-writer"]


def test_a_state_that_cannot_be_written_stops_the_study(
    writer: StudyWriter, book: CellBook, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("state.json: the disk is full")

    monkeypatch.setattr(ResultsStore, "put_json", full)
    with writer:
        wait_until(lambda: book.stopping is not None, timeout=5)
    assert isinstance(writer.failure, StorageError)
    assert book.stopping == "state.json: the disk is full" and book.next_job() is None and book.finished


def test_a_full_disk_does_not_break_the_thread(writer: StudyWriter, book: CellBook, root: Path) -> None:
    """Even the log cannot take the news of it."""
    (root / "state.json").mkdir()
    (root / "log.txt").unlink(missing_ok=True)
    (root / "log.txt").mkdir()
    with writer:
        wait_until(lambda: book.stopping is not None, timeout=5)
    assert isinstance(writer.failure, StorageError) and "state.json" in str(writer.failure)


def test_a_directory_that_another_process_took_over_is_left_to_it(
    writer: StudyWriter, book: CellBook, lock: DirectoryLock
) -> None:
    with writer:
        lock.path.write_text("{}")
        wait_until(lambda: book.stopping is not None, timeout=5)
    assert isinstance(writer.failure, LockedError) and "another process" in str(writer.failure)


def test_tables_and_journal(writer: StudyWriter, book: CellBook, root: Path) -> None:
    drive(book, root)
    writer.write_tables()
    writer.write_state()
    with (root / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"ce", "core_tuning"} and rows[0]["n"] == "2"
    with (root / "runs.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 10
    assert is_journal((root / "optuna.journal").read_bytes())
    assert json.loads((root / "state.json").read_text())["runs"]["done"] == 10


def test_the_leaderboard_is_rewritten_as_final_runs_end(
    writer: StudyWriter, book: CellBook, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEADERBOARD_EVERY_S", 0.0)
    with writer:
        time.sleep(0.1)
        assert not (root / "leaderboard.csv").exists()
        drive(book, root)
        wait_until((root / "leaderboard.csv").exists, timeout=5)
