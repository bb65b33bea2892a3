"""A cell's trials and final runs while they are under way, and how often an oracle looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from coretune.results.cellfile import TrialState
from coretune.spec.run import RunSpec, TrainSpec
from coretune.spec.study import SearchOptions, Study


@dataclass
class Trial:
    """One configuration while its runs are under way."""

    number: int
    params: dict[str, Any]
    runs: tuple[RunSpec, ...]
    values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """By repeat, of each objective."""
    intermediate: dict[int, float] = field(default_factory=dict)
    state: TrialState = "running"
    means: tuple[float, ...] = ()
    """Over repeats, of each objective; empty unless it is completed."""
    losses: dict[int, float] = field(default_factory=dict)
    """By repeat, what decides between equal trials; empty where nothing does."""
    loss: float | None = None

    @property
    def value(self) -> float | None:
        """The aggregated score; of two objectives the first."""
        return self.means[0] if self.means else None


@dataclass
class Final:
    """One final run: its score on the test part once it is there, and whether it failed.

    Attributes:
        index: Number of its seed.
        spec: What it is.
        trial: Number of the trial whose configuration it has.
        score: Of two objectives the first.
        failed: Whether it has no score and will have none.
    """

    index: int
    spec: RunSpec
    trial: int = 0
    score: float | None = None
    failed: bool = False


def looks(study: Study, trials: Sequence[Trial], finals: Sequence[Final]) -> int:
    """Returns how many evaluations on the held-out domain an oracle chose a final run's weights from; 0 without one.

    These are those of the last epochs of the trials' runs, or of every epoch where the best one is tested or a pruner
    looks on; and where the best epoch is tested, those of the final run itself.
    """
    if study.selection != "oracle":
        return 0
    best = study.finals.weights == "best"
    found = sum(_seen(trial, by_epoch=best or _pruned(study)) for trial in trials)
    return found + (_evaluated(finals[0].spec.train) if best and finals else 0)


def looks_planned(study: Study, runs: int, train: TrainSpec) -> int:
    """Returns what `looks` will be once a search is done, at the most: a pruner ends runs earlier.

    Args:
        study: The study.
        runs: How many runs the search has.
        train: Their recipe.
    """
    if study.selection != "oracle":
        return 0
    each, best = _evaluated(train), study.finals.weights == "best"
    return runs * (each if best or _pruned(study) else 1) + (each if best else 0)


def _pruned(study: Study) -> bool:
    return isinstance(study.search, SearchOptions) and study.search.pruner != "none"


def _evaluated(train: TrainSpec) -> int:
    """Returns after how many epochs a run is evaluated."""
    return -(-train.epochs // train.evaluate_every)


def _seen(trial: Trial, *, by_epoch: bool) -> int:
    """Returns how many evaluations of a trial somebody looked at: those of every epoch, or of the last ones."""
    each = _evaluated(trial.runs[0].train) if by_epoch else 1
    if len(trial.runs) > 1:
        return each * max(len(trial.values), len(trial.intermediate))
    return each if trial.state == "completed" else len(trial.intermediate)
