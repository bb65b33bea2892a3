"""Where the workers of a group meet and get their runs, and where whoever sends them looks how far they are.

A desk is a plain object of one event loop, without Ray: `GroupHost` makes an actor of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from coretune.results.life import Life
from coretune.results.record import Cause

MEETING_PATIENCE_S = 30.0
"""How long the workers that have failed wait for the others; a group with one that hangs is rebuilt."""


@dataclass(frozen=True)
class Task:
    """A run to be executed.

    Attributes:
        run_id: Its id.
        job: What to do; a `Job`.
        results: The results directory.
        in_step: Whether the workers wait after each evaluation until somebody has heard of it, who may stop them.
    """

    run_id: str
    job: Any
    results: str
    in_step: bool = False


@dataclass(frozen=True)
class Sign:
    """A sign of life of a run.

    Attributes:
        epoch: Of the event.
        images_per_s: The run's speed, if it is known.
        metrics: Of an evaluation; None between evaluations.
        life: When and on what it is executed.
    """

    epoch: int
    images_per_s: float | None
    metrics: Mapping[str, float] | None
    life: Life


@dataclass(frozen=True)
class News:
    """What has become of a run since it was last asked for.

    Attributes:
        signs: New ones.
        outcome: The status of its record, or `stopped`, once it has ended.
        error: Why its record could not be written, once it has ended so.
        lost: Why its workers were lost, once they are.
        dead: Why the whole group is no more, if it is.
    """

    signs: tuple[Sign, ...] = ()
    outcome: str | None = None
    error: str | None = None
    lost: str | None = None
    dead: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it here."""
        return self.outcome is not None or self.lost is not None


@dataclass(frozen=True)
class Verdict:
    """What workers that have failed agree on.

    Attributes:
        cause: Why; None if they are to be replaced.
    """

    cause: Cause | None


class Obsolete(Exception):
    """A worker of a group that has been rebuilt since."""


@dataclass
class _Run:
    task: Task
    begun: bool = False
    signs: list[Sign] = field(default_factory=list)  # not yet told: a run of days has very many
    reported: int = 0
    told: int = 0
    heard: int = 0
    outcome: str | None = None
    error: str | None = None
    lost: str | None = None
    stopping: bool = False

    @property
    def ended(self) -> bool:
        return self.outcome is not None or self.lost is not None


@dataclass
class _Meeting:
    causes: dict[int, tuple[Cause, str, bool]] = field(default_factory=dict)
    verdict: Verdict | None = None


class Desk:
    """The desk of one group.

    Args:
        patience_s: How long those that have failed wait for the others.

    Attributes:
        dead: Why the group is no more, or None.
    """

    def __init__(self, *, patience_s: float = MEETING_PATIENCE_S) -> None:
        self.dead: str | None = None
        self._workers = 0
        self._patience_s = patience_s
        self._changed = asyncio.Condition()
        self._crew: str | None = None
        self._crews = 0
        self._joined: set[int] = set()
        self._run: _Run | None = None
        self._handed: dict[int, Task] = {}
        self._taken: dict[int, int] = {}
        self._meeting = _Meeting()
        self._closing = False

    async def join(self, crew: str, rank: int, workers: int) -> None:
        """Takes a worker of a crew in. A new crew replaces the one before, whose run is lost.

        Args:
            crew: The same for all workers that were started together, and new each time.
            rank: The worker's number.
            workers: How many they are.
        """
        async with self._changed:
            if crew != self._crew:
                self._crew, self._joined, self._meeting = crew, set(), _Meeting()
                self._workers = workers
                self._handed, self._taken = {}, {}
                self._crews += 1
                self._lose("a worker of its group was lost")
            self._joined.add(rank)
            self._changed.notify_all()

    async def next(self, crew: str, rank: int, taken: int) -> Task | None:
        """Returns the next run, or None if there will be none. All workers of a crew get the same ones in one order.

        Args:
            crew: The worker's crew.
            rank: Its number.
            taken: How many runs it has got so far.
        """
        async with self._changed:
            await self._until(crew, lambda: self._closing or taken in self._handed or self._waits())
            if taken not in self._handed and (self._closing or self._run is None):
                return None
            if taken not in self._handed and self._run is not None:
                self._run.begun = True
                self._handed[taken] = self._run.task
            self._taken[rank] = taken
            if len(self._taken) == self._workers:
                for number in [number for number in self._handed if number < min(self._taken.values())]:
                    del self._handed[number]
            return self._handed[taken]

    async def report(self, crew: str, sign: Sign) -> bool:
        """Takes a sign of life; returns whether the run is to stop."""
        async with self._changed:
            self._check(crew)
            run = self._run
            if run is None or run.ended:
                return True
            run.signs.append(sign)
            run.reported = number = run.reported + 1
            self._changed.notify_all()
            if run.task.in_step and sign.metrics is not None:
                await self._until(crew, lambda: run.heard >= number or run.stopping or run.ended)
            return run.stopping or run.ended

    async def meet(self, crew: str, rank: int, cause: Cause, part: str, *, consequence: bool) -> Verdict:
        """Takes a worker's failure; returns once all of them have failed, or they have been waited for long enough.

        Args:
            crew: The worker's crew.
            rank: Its number.
            cause: Why it cannot go on.
            part: In which part of the run.
            consequence: Whether it says only that another worker cannot be reached.
        """
        async with self._changed:
            self._check(crew)
            meeting = self._meeting
            if meeting.verdict is not None:  # the others could not wait any longer
                return meeting.verdict
            meeting.causes[rank] = (cause, part, consequence)
            if len(meeting.causes) == self._workers:
                parts = {part for _, part, _ in meeting.causes.values()}
                first = next((cause for cause, _, follows in meeting.causes.values() if not follows), None)
                meeting.verdict = Verdict(first if len(parts) == 1 else None)
                self._meeting = _Meeting()
                self._changed.notify_all()
            try:
                await asyncio.wait_for(self._until(crew, lambda: meeting.verdict is not None), self._patience_s)
            except TimeoutError:
                meeting.verdict = meeting.verdict or Verdict(None)
            assert meeting.verdict is not None
            return meeting.verdict

    async def end(self, crew: str, outcome: str, error: str | None = None) -> None:
        """Takes the end of a run: the status of its record, or `stopped`, or `unwritten` with the error."""
        async with self._changed:
            self._check(crew)
            if self._run is not None and not self._run.ended:
                self._run.outcome, self._run.error = outcome, error
            self._changed.notify_all()

    async def start(self, task: Task) -> None:
        """Gives the group a run, which it begins as soon as its workers are there, and its present run has stopped.

        Raises:
            RuntimeError: The group is dead.
        """
        async with self._changed:
            if (present := self._run) is not None and not present.ended:
                self._ask_to_stop(present)
                await self._changed.wait_for(lambda: present.ended)
            if self.dead is not None or self._closing:
                raise RuntimeError(self.dead or "the group is being closed")
            self._run = _Run(task)
            self._changed.notify_all()

    async def news(self, run_id: str, wait_s: float) -> News:
        """Returns what has become of a run: once it has ended, or else after some seconds.

        Who asks has heard of all that it was told before.

        Args:
            run_id: The run.
            wait_s: At most so long; 0 returns as soon as there is any sign.
        """
        async with self._changed:
            run = self._run
            if run is None or run.task.run_id != run_id:
                return News(lost=self.dead or "the group does not know the run", dead=self.dead)
            run.heard = run.told
            self._changed.notify_all()

            def due() -> bool:
                return run.ended or (run.task.in_step and bool(run.signs))

            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(due), wait_s)
            fresh, run.told = tuple(run.signs), run.reported
            run.signs.clear()
            return News(fresh, run.outcome, run.error, run.lost, self.dead)

    async def stop(self, run_id: str) -> str | None:
        """Stops a run at its next sign of life, with its state stored; returns what has become of it.

        A run that has not begun, because its workers are not there yet, is taken back.
        """
        async with self._changed:
            run = self._run
            if run is None or run.task.run_id != run_id:
                return None
            self._ask_to_stop(run)
            await self._changed.wait_for(lambda: run.ended)
            return run.outcome

    async def up(self) -> None:
        """Returns once all workers are there, or the group is dead."""
        async with self._changed:
            await self._changed.wait_for(lambda: 0 < self._workers == len(self._joined) or self.dead is not None)

    async def close(self) -> None:
        """Sends the workers home."""
        async with self._changed:
            self._closing = True
            self._changed.notify_all()

    async def die(self, why: str) -> None:
        """Notes that the group is no more."""
        async with self._changed:
            self.dead = why
            self._lose(why)
            self._changed.notify_all()

    @property
    def crews(self) -> int:
        """How often the group was built."""
        return self._crews

    def _ask_to_stop(self, run: _Run) -> None:
        run.stopping = True
        if not run.begun:
            run.outcome = "stopped"
        self._changed.notify_all()

    def _waits(self) -> bool:
        return self._run is not None and not self._run.begun and not self._run.ended

    def _lose(self, why: str) -> None:
        if self._run is not None and not self._run.ended and (self._run.begun or self.dead is not None):
            self._run.lost = why

    def _check(self, crew: str) -> None:
        if crew != self._crew:
            raise Obsolete("the group was rebuilt without this worker")

    async def _until(self, crew: str, condition: Callable[[], bool]) -> None:
        await self._changed.wait_for(lambda: crew != self._crew or condition())
        self._check(crew)
