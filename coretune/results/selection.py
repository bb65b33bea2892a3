"""Choosing among trials: pure functions over their entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from coretune.results.cellfile import TrialEntry

Direction = Literal["max", "min"]


def better(candidate: float, incumbent: float, direction: Direction) -> bool:
    """Returns whether a score is strictly better than another."""
    return candidate > incumbent if direction == "max" else candidate < incumbent


def best_trial(trials: Sequence[TrialEntry], direction: Direction) -> TrialEntry | None:
    """Returns the completed trial with the best value; of equals, the one with the lowest number.

    Pruned and failed trials are never chosen. None if no trial completed.
    """
    best: TrialEntry | None = None
    for trial in sorted(trials, key=lambda entry: entry.number):
        if trial.state != "completed" or trial.value is None:
            continue
        if best is None or best.value is None or better(trial.value, best.value, direction):
            best = trial
    return best
