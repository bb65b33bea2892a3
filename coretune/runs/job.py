"""A run to be executed: its description, and what the description leaves open on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from coretune.spec.run import EvalSpec, RunSpec


@dataclass(frozen=True)
class Job:
    """What one worker is asked to do.

    Attributes:
        spec: The run.
        data_path: Where the data set's files are, if it needs to be told.
        checkpoint: The file behind `sha256:` weights.
        keep_weights: Whether the trained weights stay on disk.
        evaluations: Evaluations to make of the trained model; if one fails, the run does.
        further: Evaluations beside them; if one fails, the run's record says so and is complete.
        plugins: Plug-in files that declare what the spec names.
        workers: How many processes execute it together.
    """

    spec: RunSpec
    data_path: str | None = None
    checkpoint: str | None = None
    keep_weights: bool = False
    evaluations: tuple[EvalSpec, ...] = ()
    plugins: tuple[str, ...] = ()
    further: tuple[EvalSpec, ...] = ()
    workers: int = 1

    def __str__(self) -> str:
        """Its run's id: Ray Tune keeps the text of what it is given with each trial."""
        return self.spec.run_id

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Returns itself: it never changes, and Ray Tune copies what it is given again and again."""
        return self

    @property
    def all_evaluations(self) -> tuple[EvalSpec, ...]:
        """All of its evaluations, those of the last weights first: the others take their place in memory."""
        order = ("last", "best", "swad")
        return tuple(sorted((*self.evaluations, *self.further), key=lambda spec: order.index(spec.weights)))
