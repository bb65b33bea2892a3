"""What Ray Tune sees: a searcher that hands out the book's runs, and a scheduler that asks the book whom to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from coretune.cluster.pool import GroupPool
from coretune.cluster.watch import ClusterWatch
from coretune.errors import UnfitError
from coretune.runs.job import Job
from coretune.study.barrier import SlotBarrier
from coretune.study.book import LOST_LIMIT, CellBook
from coretune.study.progress import Progress
from coretune.study.trainable import WorkerOptions

STOP_PATIENCE_S = 60.0
GIVE_WAY_S = 10.0
"""So long a run waits for a slot of its own beside an idle one, which it gets then: from a lost node none comes
back."""


class _NotInSnapshots:
    """Keeps the book out of Tune's snapshots: they are never read, and the book holds locks."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class CellSearch(_NotInSnapshots, Searcher):
    """Multiplexes the cells of a study: each suggestion is one run.

    While there are fewer runs than slots, the other slots are given idle trials (`job` None): Tune drops all idle
    actors but one, and `SlotBarrier` says why they would not come back.

    Args:
        book: The study's bookkeeping.
        progress: Follows who runs where.
        options: What all runs have in common.
        slots: How many runs are executed at a time.
        pool: The groups that execute runs of several workers; None where a run's trial trains it itself.

    Attributes:
        last_error: What a process that was lost said last.
    """

    def __init__(
        self,
        book: CellBook,
        progress: Progress,
        options: WorkerOptions,
        slots: int,
        pool: GroupPool | None = None,
    ) -> None:
        super().__init__()
        self._pool = pool
        self._group_of: dict[str, str] = {}
        self._book = book
        self._progress = progress
        self._options = options
        self._barrier = SlotBarrier(slots)
        self._run_of: dict[str, str | None] = {}
        self._handed_out: dict[str, float] = {}
        self._idle_lost = 0
        self.last_error: str | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # Ray's own types forget FINISHED
        """Returns the next run, an idle trial if there is none now, or FINISHED if there will be none."""
        try:
            job = None if self._holds() else self._next_job()
            if job is not None:
                self._barrier.started()
        except UnfitError as error:  # Tune would wrap it into its own, and show a traceback
            self._book.give_up(error)
            return Searcher.FINISHED
        if job is None and self._book.finished:
            return Searcher.FINISHED
        run_id = None if job is None else job.spec.run_id
        self._run_of[trial_id] = run_id
        if run_id is not None:
            self._handed_out[trial_id] = time.monotonic()
            self._progress.started(run_id)
        config = {"run_id": run_id, "job": job, "options": self._options}
        if self._pool is not None and job is not None:
            self._group_of[trial_id] = config["group"] = self._pool.take(job.workers)
        return config

    def keeps_idle(self, trial_id: str) -> bool:
        """Returns whether an idle trial that has just reported should go on waiting."""
        self._barrier.up(trial_id)
        self._idle_lost = 0
        if self._book.finished or self._book.stopping is not None:
            return False
        return self._holds() or not self._ready()

    def handed_out(self, seconds: float) -> list[str]:
        """Returns the trials that got a run so many seconds ago or earlier, and have not ended."""
        now = time.monotonic()
        return [trial_id for trial_id, since in self._handed_out.items() if now - since >= seconds]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Takes the end of a run."""
        run_id = self._run_of.pop(trial_id)
        self._handed_out.pop(trial_id, None)
        result = result or {}
        self._barrier.ended(trial_id, lost=error)
        if error:
            self._barrier.lost()
        if run_id is None:
            self._idle_lost += error
            if self._idle_lost >= LOST_LIMIT:
                why = "; the end of log.txt says why" if self.last_error is None else f": {self.last_error}"
                self._book.give_up(UnfitError(f"processes that are to train do not start{why}"))
            return
        self._progress.ended(run_id)
        try:
            if error or result.get("lost"):
                self._book.on_lost(run_id, result.get("lost", "the process that trained it was lost"))
            else:
                # Tune sets `done` on runs that it stops, too; `outcome` is ours and stands at a run's own end only.
                self._book.on_finished(run_id, ended=bool(result.get("outcome")))
            self._give_back(trial_id, result.get("dead") or ("its actor was lost" if error else None))
        except UnfitError as unfit:
            self._book.give_up(unfit)

    def _give_back(self, trial_id: str, dead: str | None) -> None:
        """Gives back the group of a run that has ended; those that no further run needs are closed."""
        if self._pool is None or trial_id not in self._group_of:
            return
        self._pool.give_back(self._group_of.pop(trial_id), dead=dead)
        self._pool.release(self._progress.runs_left)

    def _holds(self) -> bool:
        if self._barrier.is_open:
            return False
        running = sum(run_id is not None for run_id in self._run_of.values())
        return self._barrier.holds(running, self._ready())

    def _next_job(self) -> Job | None:
        """Returns the next run for which there is a place: first one of as many workers as a free group has."""
        if self._pool is None:
            return self._book.next_job()
        return self._book.next_job(self._pool.has_place) or self._book.next_job(self._pool.could_place)

    def _ready(self) -> int:
        return self._book.ready() if self._pool is None else self._book.ready(self._pool.could_place)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the book is on disk, in our own files."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: a resume makes a new, smaller experiment."""


class Abandoned(Exception):
    """What is under way is not waited for: the cluster is dead, or a stop is not answered."""


class Watchman(_NotInSnapshots, Callback):
    """Leaves Tune's loop when waiting has become pointless.

    Args:
        book: The study's bookkeeping.
        watch: Of the cluster.
        patience_s: How long runs have to end once the study is asked to stop.
        clock: Seconds, growing.
    """

    def __init__(
        self,
        book: CellBook,
        watch: ClusterWatch,
        *,
        patience_s: float = STOP_PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._watch = watch
        self._patience_s = patience_s
        self._clock = clock
        self._stopped_at: float | None = None

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune about ten times a second.

        Raises:
            Abandoned: The cluster is dead, or runs have not ended long after the study was asked to stop.
        """
        if self._watch.death is not None:
            self._book.give_up(UnfitError(f"{self._watch.death}; what is recorded is safe, run the study again"))
            raise Abandoned
        if self._book.stopping is None:
            return
        if self._stopped_at is None:
            self._stopped_at = self._clock()
        elif self._clock() - self._stopped_at > self._patience_s:
            raise Abandoned


class CellScheduler(_NotInSnapshots, TrialScheduler):
    """Stops the runs that the book gives up, and all of them when the study is asked to stop.

    Args:
        book: The study's bookkeeping.
        progress: Follows how far runs are.
        search: Hands out the trials.
    """

    def __init__(self, book: CellBook, progress: Progress, search: CellSearch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._book = book
        self._progress = progress
        self._search = search
        self._live: list[Any] = []
        self._place: Any = None  # what a run asks the cluster for: Tune makes one for each trial, and keeps it

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Hands a run's evaluations to the book."""
        run_id = result["run_id"]
        if run_id is None:
            stays = self._search.keeps_idle(trial.trial_id) and not self._gives_way()
            return TrialScheduler.CONTINUE if stays else TrialScheduler.STOP
        life = result.get("life")
        if life is not None:
            self._book.on_life(run_id, life)
        node = None if life is None else life.environment.get("hostname")
        self._progress.ticked(run_id, result.get("epoch", 0), result.get("images_per_s"), node)
        give_up = [self._book.on_report(run_id, epoch, metrics) for epoch, metrics in result["reports"]]
        if any(give_up) or self._book.stopping is not None:
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Hands a run's last evaluations to the book."""
        if (life := result.get("life")) is not None:
            self._book.on_life(result["run_id"], life)
        for epoch, metrics in result.get("reports", ()):
            self._book.on_report(result["run_id"], epoch, metrics)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Notes a trial: Tune's own list has those that are long finished, and grows with the study."""
        self._live.append(trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Notes what a lost process said; that it is lost, the searcher is told too."""
        with suppress(OSError):  # it only explains what the log has in full
            said = Path(trial.error_file or "").read_text(errors="replace").splitlines()
            self._search.last_error = next((line.strip() for line in reversed(said) if line.strip()), None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Does nothing: runs are not removed."""

    def choose_trial_to_run(self, tune_controller: Any, **_: Any) -> Any | None:
        """Returns the first run that waits."""
        for trial in self._live:
            if trial.is_finished():
                forget(trial)
                self._place = trial.placement_group_factory = self._place or trial.placement_group_factory
        self._live = [trial for trial in self._live if not trial.is_finished()]
        return next((trial for trial in self._live if trial.status in ("PENDING", "PAUSED")), None)

    def _gives_way(self) -> bool:
        """Returns whether a run has long been waiting for the slot that an idle trial holds."""
        waiting = self._search.handed_out(GIVE_WAY_S)
        return any(trial.status == "PENDING" and trial.trial_id in waiting for trial in self._live)

    def debug_string(self) -> str:
        """Returns one line for Tune's own display."""
        return "coretune"


def forget(trial: Any) -> None:
    """Frees what Tune keeps of a finished trial: it keeps all trials, each with statistics of each of its numbers."""
    for kept in (trial.metric_analysis, trial.metric_n_steps, trial.config, trial.evaluated_params):
        kept.clear()
    for name in ("life", "reports"):
        trial.run_metadata.last_result.pop(name, None)  # `trial.last_result` asks an actor that may be dead
