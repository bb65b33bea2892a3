"""How fast a training is now."""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Spent(Protocol):
    """What a training had cost by some moment, all sessions together: images, and seconds spent on them."""

    @property
    def images(self) -> int: ...

    @property
    def seconds(self) -> float: ...


class Speed:
    """Images per second over the last `span_s` seconds of training.

    A training that was resumed counts what earlier sessions cost, perhaps on another or a busier machine; its whole
    mean says little of how fast it is now.
    """

    def __init__(self, span_s: float = 10.0) -> None:
        self._span_s = span_s
        self._marks: deque[tuple[int, float]] = deque()

    def after(self, spent: Spent) -> float:
        """Notes a moment and returns the speed up to it; the mean of the whole training at the first."""
        self._marks.append((spent.images, spent.seconds))
        while len(self._marks) > 2 and spent.seconds - self._marks[1][1] >= self._span_s:
            self._marks.popleft()
        images, seconds = self._marks[0] if len(self._marks) > 1 else (0, 0.0)
        return (spent.images - images) / max(spent.seconds - seconds, 1e-9)
