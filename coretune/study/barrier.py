"""Holds runs back until every slot has its process.

Tune gives a waiting trial to the first actor that comes free and withdraws its request for a new one. Where a run is
shorter than the start of an actor, the first slot would serve all runs and the others would never come up. So runs
wait until each slot is held by an idle trial or by a run; and again after a process was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0


class SlotBarrier:
    """Knows which idle trials hold a slot.

    Args:
        slots: How many runs are executed at a time.
        patience_s: After so many seconds, runs go on with the slots that are there.
        clock: Seconds, growing.
    """

    def __init__(
        self, slots: int, *, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = slots
        self._patience_s = patience_s
        self._clock = clock
        self._up: set[str] = set()
        self._vacated = 0
        self._since: float | None = clock()

    @property
    def is_open(self) -> bool:
        """Whether no run has to wait, however many there are."""
        return self._since is None

    def holds(self, running: int, ready: int) -> bool:
        """Returns whether runs have to wait.

        No more runs than there are slots up need not wait: each has its own, and the others come up meanwhile.

        Args:
            running: How many runs hold a slot.
            ready: How many runs could be started.
        """
        if self._since is None:
            return False
        if len(self._up) + running >= self._slots or self._clock() - self._since > self._patience_s:
            self._since = None
        return self._since is not None and ready > len(self._up) + self._vacated

    def started(self) -> None:
        """Notes that a run takes a slot."""
        self._vacated = max(0, self._vacated - 1)

    def up(self, trial_id: str) -> None:
        """Notes that an idle trial has its process."""
        self._up.add(trial_id)

    def ended(self, trial_id: str, *, lost: bool = False) -> None:
        """Notes the end of an idle trial; its process, if it is not lost, is free for a run."""
        if trial_id in self._up:
            self._up.discard(trial_id)
            self._vacated += not lost

    def lost(self) -> None:
        """Notes that a slot lost its process."""
        self._since = self._clock()
