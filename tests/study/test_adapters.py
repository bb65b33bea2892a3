"""What Tune's loop asks at each step: whether it is worth going on, and what to run where."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.driving import answer, make_book, resolved

from coretune.errors import UnfitError
from coretune.results.store import ResultsStore
from coretune.spec.study import Resources
from coretune.study import adapters
from coretune.study.adapters import Abandoned, CellScheduler, CellSearch, Watchman
from coretune.study.book import CellBook
from coretune.study.events import EventLog
from coretune.study.progress import Progress
from coretune.study.trainable import WorkerOptions


class Watch:
    death: str | None = None


def test_a_dead_cluster_is_left_at_once(root: Path) -> None:
    book, watch = make_book(resolved(), root), Watch()
    man = Watchman(book, watch)  # type: ignore[arg-type]
    man.on_step_begin(0, [])
    watch.death = "no node is alive"
    with pytest.raises(Abandoned):
        man.on_step_begin(1, [])
    assert book.broken is not None and "no node is alive; what is recorded is safe" in str(book.broken)
    assert book.finished


def test_a_stop_is_waited_for_but_not_for_ever(root: Path) -> None:
    now = 0.0
    book = make_book(resolved(), root)
    man = Watchman(book, Watch(), patience_s=10, clock=lambda: now)  # type: ignore[arg-type]
    now = 100.0
    man.on_step_begin(0, [])
    book.stop("interrupted")
    man.on_step_begin(1, [])
    now = 109.0
    man.on_step_begin(2, [])
    now = 110.5
    with pytest.raises(Abandoned):
        man.on_step_begin(3, [])
    assert book.broken is None, "an interruption is no fault"


class FakePool:
    """Two groups, by name; `given` says what came back and why.

    `here` and `possible` are the numbers of workers for which there is a place: as it is, and if groups are closed.
    """

    def __init__(self, error: UnfitError | None = None) -> None:
        self.free = ["first", "second"]
        self.given: list[tuple[str, str | None]] = []
        self.kept: list[int] = []
        self.error = error
        self.here = self.possible = {1, 2}
        self.taken: list[int] = []

    def has_place(self, workers: int) -> bool:
        return bool(self.free) and workers in self.here

    def could_place(self, workers: int) -> bool:
        return bool(self.free) and workers in self.possible

    def take(self, workers: int) -> str:
        self.taken.append(workers)
        return self.free.pop(0)

    def give_back(self, name: str, *, dead: str | None = None) -> None:
        self.given.append((name, dead))
        self.free.append(name)
        if self.error is not None:
            raise self.error

    def release(self, keep: int) -> None:
        self.kept.append(keep)


def searching(root: Path, pool: FakePool, *sets: str) -> tuple[CellBook, CellSearch]:
    """A search whose two slots are up."""
    book = make_book(resolved(*sets), root)
    options = WorkerOptions(results=str(root), resources=Resources(workers=2))
    progress = Progress(book, EventLog(root / "log.txt"), results=str(root), slots=2)
    search = CellSearch(book, progress, options, 2, pool)  # type: ignore[arg-type]
    for trial in ("idle-0", "idle-1"):
        found = search.suggest(trial)
        assert isinstance(found, dict) and found["job"] is None and "group" not in found
    for trial in ("idle-0", "idle-1"):
        search.keeps_idle(trial)
    for trial in ("idle-0", "idle-1"):
        search.on_trial_complete(trial, {"run_id": None})
    return book, search


def suggested(search: CellSearch, trial: str) -> dict[str, Any]:
    found = search.suggest(trial)
    assert isinstance(found, dict) and found["job"] is not None
    return found


def test_each_run_of_several_workers_has_a_group_of_its_own(root: Path) -> None:
    pool = FakePool()
    book, search = searching(root, pool)
    one, other = suggested(search, "a"), suggested(search, "b")
    assert (one["group"], other["group"]) == ("first", "second")
    answer(ResultsStore(root), one["job"], 50.0)
    search.on_trial_complete("a", {"run_id": one["run_id"], "outcome": "completed"})
    assert book.runs[one["run_id"]].status == "completed"
    assert pool.given == [("first", None)] and pool.kept == [9], "of ten runs nine are left"
    assert suggested(search, "c")["group"] == "first"


def test_a_run_that_lost_its_workers_is_tried_again(root: Path) -> None:
    pool = FakePool()
    book, search = searching(root, pool)
    found = suggested(search, "a")
    search.on_trial_complete("a", {"run_id": found["run_id"], "lost": "a worker was lost", "dead": None})
    assert pool.given == [("first", None)], "the group is rebuilt by itself"
    run = book.runs[found["run_id"]]
    assert run.state == "queued" and run.lost == 1
    assert suggested(search, "b")["run_id"] == found["run_id"], "it goes first"
    search.on_trial_complete("b", None, error=True)
    assert pool.given[-1] == ("second", "its actor was lost"), "nobody may go on with it unseen"


def test_groups_that_die_again_and_again_end_the_study(root: Path) -> None:
    pool = FakePool(UnfitError("the workers do not start"))
    book, search = searching(root, pool)
    found = suggested(search, "a")
    result = {"run_id": found["run_id"], "lost": "no room", "dead": "no room"}
    search.on_trial_complete("a", result)
    assert pool.given == [("first", "no room")]
    assert str(book.broken) == "the workers do not start" and search.suggest("b") == "FINISHED"


MIXED = ("backbones.small={arch: small_resnet, workers: 1}", "resources={workers: 2}")


def test_runs_that_find_a_group_go_before_those_that_need_another(root: Path) -> None:
    pool = FakePool()
    book, search = searching(root, pool, *MIXED)
    assert book.fewest_workers == 1
    pool.here, pool.possible = {1}, {1, 2}
    assert suggested(search, "a")["job"].workers == 1
    pool.free, pool.here = ["third"], {2}
    assert suggested(search, "b")["job"].workers == 2
    pool.free, pool.here = ["fourth"], set()
    assert suggested(search, "c")["job"].workers in (1, 2), "a group is closed for it"
    assert pool.taken[:2] == [1, 2]


def test_a_slot_waits_while_there_is_no_place(root: Path) -> None:
    pool = FakePool()
    _, search = searching(root, pool, *MIXED)
    pool.here, pool.possible = set(), set()
    found = search.suggest("a")
    assert isinstance(found, dict) and found["job"] is None
    assert search.keeps_idle("a")
    pool.possible = {2}
    assert not search.keeps_idle("a"), "there is a run that fits"
    search.on_trial_complete("a", {"run_id": None})
    assert suggested(search, "b")["job"].workers == 2


class TuneTrial:
    """A trial as Tune keeps it."""

    def __init__(self, status: str = "PENDING", trial_id: str = "") -> None:
        self.status = status
        self.trial_id = trial_id
        self.metric_analysis, self.metric_n_steps = {"epoch": {"max": 1}}, {"epoch": {"5": [1]}}
        self.config, self.evaluated_params = {"run_id": "a"}, {"run_id": "a"}
        self.placement_group_factory = object()
        self.run_metadata = SimpleNamespace(last_result={"run_id": "a", "life": object(), "reports": [(1, {})]})

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")


def test_trials_run_in_their_order_and_finished_ones_keep_nothing(root: Path) -> None:
    book = make_book(resolved(), root)
    progress = Progress(book, EventLog(root / "log.txt"), results=str(root), slots=2)
    options = WorkerOptions(results=str(root), resources=Resources())
    scheduler = CellScheduler(book, progress, CellSearch(book, progress, options, 2))
    trials = [TuneTrial("RUNNING"), TuneTrial(), TuneTrial("PAUSED")]
    assert scheduler.choose_trial_to_run(None) is None
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    chosen = []
    for ended in (1, 2, 0):
        chosen.append(scheduler.choose_trial_to_run(None))
        trials[ended].status = "TERMINATED"
    assert chosen == [trials[1], trials[2], None]
    assert trials[0].config, "not before Tune has looked once more"
    assert scheduler.choose_trial_to_run(None) is None
    for trial in trials:
        kept = (trial.config, trial.evaluated_params, trial.metric_analysis, trial.metric_n_steps)
        assert kept == ({}, {}, {}, {}) and trial.run_metadata.last_result == {"run_id": "a"}
    assert len({id(trial.placement_group_factory) for trial in trials}) == 1


@pytest.mark.parametrize(
    ("status", "patience", "says"),
    [("PENDING", 0.0, "STOP"), ("PENDING", 60.0, "CONTINUE"), ("RUNNING", 0.0, "CONTINUE")],
)
def test_an_idle_slot_gives_way_to_a_run_that_gets_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch, status: str, patience: float, says: str
) -> None:
    """As when the other slot was on a node that was lost, and there is no further run."""
    monkeypatch.setattr(adapters, "GIVE_WAY_S", patience)
    book, search = searching(root, FakePool(), "search=none", "finals.seeds=1", "methods=[ce]")
    progress = Progress(book, EventLog(root / "log.txt"), results=str(root), slots=2)
    scheduler = CellScheduler(book, progress, search)
    run, idle = TuneTrial(status, "run"), TuneTrial("RUNNING", "idle")
    suggested(search, "run")
    found = search.suggest("idle")
    assert isinstance(found, dict) and found["job"] is None
    for trial in (run, idle):
        scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, idle, {"run_id": None}) == says
    search.on_trial_complete("run", None, error=True)
    assert search.handed_out(0.0) == []
