"""Runs that somebody waits for, and the queue of those that are to be started."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from coretune.results.life import Life
from coretune.results.record import Cause, Record, Status
from coretune.results.times import now_iso
from coretune.runs.job import Job
from coretune.study.cell import StudyCell

Role = Literal["prepare", "search", "final"]


@dataclass(frozen=True)
class Consumer:
    """Who waits for a run: a cell, for its preparation, for a repeat of a trial, or for a final run.

    Attributes:
        number: The trial's number, or the final run's index.
        repeat: The trial's repeat.
    """

    role: Role
    cell: StudyCell
    number: int = 0
    repeat: int = 0

    @property
    def satisfied(self) -> bool:
        """Whether the run would come too late: its trial is settled already, or its cell has failed."""
        settled = self.role == "search" and self.cell.trials[self.number].state != "running"
        return settled or self.cell.failure is not None


@dataclass
class Run:
    """A run that somebody waits for.

    Attributes:
        status: That of its record, once there is one that counts.
        last_metrics: The newest metrics that it reported.
        life: When and on what it is executed, once its process has said so.
        lost: How often the process that trained it was lost.
    """

    job: Job
    label: str
    consumers: list[Consumer] = field(default_factory=list)
    state: Literal["queued", "running", "done"] = "queued"
    status: Status | None = None
    pruned: bool = False
    last_metrics: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    life: Life | None = None

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it any more."""
        return all(consumer.satisfied for consumer in self.consumers)

    def driver_record(self, status: Literal["pruned", "failed"], cause: Cause | None) -> Record:
        """Returns the record that the driver writes where the run's own process did not."""
        now, life = now_iso(), self.life
        return Record(
            run_id=self.job.spec.run_id,
            status=status,
            cause=cause,
            spec=self.job.spec.canonical(),
            metrics={"last": self.last_metrics} if self.last_metrics else {},
            timings={} if life is None else {"total_s": life.elapsed_s},
            environment={} if life is None else dict(life.environment),
            started=now if life is None else life.started,
            finished=now,
        )


Fits = Callable[[int], bool]
"""Whether there is a place for a run of so many workers."""


def anything(workers: int) -> bool:
    """Says that there is a place for any run."""
    return True


class RunQueue:
    """Runs to be started, first come first served, each as soon as what it needs is there.

    Args:
        ready: Whether the runs that a job needs are recorded.
    """

    def __init__(self, ready: Callable[[Job], bool]) -> None:
        self._ready = ready
        self._waiting: deque[Run] = deque()

    def add(self, run: Run, *, first: bool = False) -> None:
        """Queues a run."""
        run.state = "queued"
        if first:
            self._waiting.appendleft(run)
        else:
            self._waiting.append(run)

    def pop(self, fits: Fits = anything) -> Run | None:
        """Takes the first run that can be started and has a place; forgets those that nobody waits for any more."""
        for run in list(self._waiting):
            if run.unwanted:
                run.state = "done"
                self._waiting.remove(run)
            elif fits(run.job.workers) and self._ready(run.job):
                self._waiting.remove(run)
                return run
        return None

    def ready(self, fits: Fits = anything) -> int:
        """Returns how many runs could be started now, if there is a place for each."""
        return sum(not run.unwanted and fits(run.job.workers) and self._ready(run.job) for run in self._waiting)

    def __len__(self) -> int:
        return sum(not run.unwanted for run in self._waiting)
