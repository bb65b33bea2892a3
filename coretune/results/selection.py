"""Choosing among trials: pure functions over their entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from coretune.results.cellfile import TrialEntry
from coretune.results.record import Record
from coretune.spec.run import Epoch

Direction = Literal["max", "min"]

TIES = "cross_entropy"
"""Metric on the validation part, lower is better, that decides between equal scores where a domain is held out."""


def better(candidate: float, incumbent: float, direction: Direction) -> bool:
    """Returns whether a score is strictly better than another."""
    return candidate > incumbent if direction == "max" else candidate < incumbent


def best_trial(trials: Sequence[TrialEntry], direction: Direction) -> TrialEntry | None:
    """Returns the completed trial with the best value; of equals, the one with the lowest loss, where trials have one,
    and of these the one with the lowest number.

    Pruned and failed trials are never chosen. None if no trial completed.
    """
    best: TrialEntry | None = None
    for trial in sorted(trials, key=lambda entry: entry.number):
        if trial.state != "completed" or trial.value is None:
            continue
        if best is None or best.value is None or better(trial.value, best.value, direction) or _wins_tie(trial, best):
            best = trial
    return best


def tie_breaker(record: Record, epoch: Epoch) -> float:
    """Returns what decides between equal trials of a completed run, of the epoch by which runs are judged."""
    return record.metrics[epoch][TIES]


def _wins_tie(trial: TrialEntry, best: TrialEntry) -> bool:
    return trial.value == best.value and trial.loss is not None and best.loss is not None and trial.loss < best.loss
