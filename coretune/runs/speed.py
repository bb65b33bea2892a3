"""How fast a training is now."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # else the driver, which imports the actor, would import torch
    from coretune.tuning.loop import EpochReport, Tick


class Speed:
    """Images per second over the last `span_s` seconds of training.

    A training that was resumed counts what earlier sessions cost, perhaps on another or a busier machine; its whole
    mean says little of how fast it is now.
    """

    def __init__(self, span_s: float = 10.0) -> None:
        self._span_s = span_s
        self._marks: deque[tuple[int, float]] = deque()

    def after(self, event: Tick | EpochReport) -> float:
        """Notes an event and returns the speed up to it; the mean of the whole training at the first."""
        self._marks.append((event.images, event.seconds))
        while len(self._marks) > 2 and event.seconds - self._marks[1][1] >= self._span_s:
            self._marks.popleft()
        images, seconds = self._marks[0] if len(self._marks) > 1 else (0, 0.0)
        return (event.images - images) / max(event.seconds - seconds, 1e-9)
