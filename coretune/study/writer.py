"""Keeps `state.json`, the searches' files and the leaderboard fresh while a study runs."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from coretune.errors import LockedError, UnfitError
from coretune.report.write import TABLES
from coretune.report.write import Writer as TableWriter
from coretune.results.lock import DirectoryLock
from coretune.results.remote_lock import RemoteLock
from coretune.results.store import ResultsStore
from coretune.study.book import CellBook
from coretune.study.progress import Progress

STATE_EVERY_S = 2.0
LEADERBOARD_EVERY_S = 15.0


class StudyWriter:
    """A thread that writes the driver's files; the study is stopped when they cannot be written.

    Args:
        store: The results directory.
        book: The study's bookkeeping.
        progress: Describes it.
        lock: Of the results directory.

    Attributes:
        failure: Why a file could not be written, or None.
    """

    def __init__(
        self, store: ResultsStore, book: CellBook, progress: Progress, lock: DirectoryLock | RemoteLock
    ) -> None:
        self.failure: UnfitError | None = None
        self._store = store
        self._book = book
        self._progress = progress
        self._lock = lock
        self._tables = TableWriter(store)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coretune-writer", daemon=True)

    def __enter__(self) -> StudyWriter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def write_state(self) -> None:
        """Writes `state.json`, and the searches that have changed."""
        self._put_state(self._progress.snapshot())

    def write_tables(self) -> None:
        """Writes `leaderboard.csv`, `runs.csv` and `optuna.journal`."""
        self._tables.write()
        self._store.put("optuna.journal", self._book.journal.dump())
        self._store.mirror.publish(*TABLES, "log.txt")

    def _put_state(self, snapshot: dict[str, Any]) -> None:
        self._book.write_searches()
        self._store.put_json("state.json", snapshot)

    def _run(self) -> None:
        written, finals = time.monotonic(), 0
        try:
            while not self._ended.wait(STATE_EVERY_S):
                if not self._lock.held:
                    raise LockedError(f"{self._store.mirror.name}: another process has taken this directory over")
                snapshot = self._progress.snapshot()
                self._put_state(snapshot)
                done = sum(cell["finals"]["done"] for cell in snapshot["cells"])
                if done > finals and time.monotonic() - written >= LEADERBOARD_EVERY_S:
                    self.write_tables()
                    written, finals = time.monotonic(), done
        except Exception as error:  # whatever it is: a study that is not written down any more must not go on unseen
            unfit = (
                error if isinstance(error, UnfitError) else UnfitError(f"state.json: {type(error).__name__}: {error}")
            )
            self.failure = unfit
            self._book.stop(str(unfit))
