"""When a training gives a sign of life: by the clock, and where several workers train, after the same step on all."""

from __future__ import annotations

import time

from coretune.tuning.context import Context


class Pace:
    """Counts steps and time since the last sign of life.

    One worker looks at its clock after each step. Several agree, at each sign of life, after how many steps the next
    one is due, by the clock of the first worker; they begin with one step and at most double the number each time.

    Args:
        context: `tick_s`, the seconds between two signs, and the workers.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stride = 1
        self._steps = 0
        self._started = time.perf_counter()

    def start(self) -> None:
        """Starts the clock anew."""
        self._started = time.perf_counter()

    def due(self) -> bool:
        """Returns whether a sign of life is due. Called after each step, by all workers."""
        if self._context.shard.workers == 1:
            return self.elapsed() >= self._context.tick_s
        self._steps += 1
        if self._steps < self._stride:
            return False
        fitting = self._steps * self._context.tick_s / max(self.elapsed(), 1e-9)
        stride = int(max(1, min(fitting, 2 * self._stride)))
        self._stride = self._context.shard.agree(stride, self._context.device)
        self._steps = 0
        return True

    def elapsed(self) -> float:
        """Returns the seconds since the start."""
        return time.perf_counter() - self._started
