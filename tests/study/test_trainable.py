"""The Tune actor without Tune: when it returns, so that the driver sees that a run is being evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.training import accuracy_evaluation, digits_job, digits_spec

from coretune.results.life import Life
from coretune.runs.job import Job
from coretune.runs.speed import Speed
from coretune.spec.study import Resources
from coretune.study.trainable import RunTrainable, WorkerOptions
from coretune.tuning.loop import EpochReport


class Told:
    """An execution that tells its epochs, and then evaluates."""

    def __init__(self, job: Job, evaluated: list[str]) -> None:
        self.job, self.run_id = job, job.spec.run_id
        self.record: Any = None
        self._evaluated = evaluated
        self._events = self._run()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._events)

    def life(self) -> Life:
        return Life("2026-11-01T10:00:00+00:00", 1.0, {})

    def _run(self) -> Iterator[Any]:
        for epoch in (1, 2):
            yield EpochReport(
                epoch, {"top1": 50.0}, {"loss": 1.0}, {}, images=20 * epoch, seconds=1.0 * epoch, evaluate_s=0.0
            )
        self._evaluated += [spec.evaluation.name for spec in self.job.all_evaluations]
        self.record = SimpleNamespace(status="completed")


@pytest.mark.parametrize("further", [True, False])
def test_it_returns_between_the_last_epoch_and_further_evaluations(further: bool) -> None:
    more = (accuracy_evaluation(limit=5),) if further else ()
    job = digits_job(digits_spec(epochs=2), further=more)
    evaluated: list[str] = []
    trainable: Any = RunTrainable.__new__(RunTrainable)
    trainable._options = WorkerOptions("results", Resources(), report_every_s=60.0)
    trainable._speed, trainable._execution = Speed(), Told(job, evaluated)
    first = trainable.step()
    assert first["reports"] == [(1, {"top1": 50.0}), (2, {"top1": 50.0})]
    if further:
        assert (first["epoch"], first["done"], evaluated) == (2, False, [])
        assert trainable.step()["done"] and len(evaluated) == 2
    else:
        assert first["done"] and first["outcome"] == "completed" and len(evaluated) == 1
