"""The Tune actor: it trains one run after another, with torch imported once and data mapped once.

Expected failures end a run with a record; only a lost process raises. A run that is stopped stores its state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ray import tune

from coretune.results.store import ResultsStore
from coretune.runs.job import Job
from coretune.runs.speed import Speed
from coretune.spec.catalog import load_catalog
from coretune.spec.study import Resources

if TYPE_CHECKING:
    from coretune.runs.build import OpenData
    from coretune.runs.execute import Execution


SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.8


@dataclass(frozen=True)
class WorkerOptions:
    """What all runs of a study have in common on a worker.

    Attributes:
        results: The results directory.
        resources: What a run gets.
        report_every_s: Results come at most so often, except at a run's end; 0 for every evaluation.
    """

    results: str
    resources: Resources
    report_every_s: float = 1.0

    def __str__(self) -> str:
        """The results directory."""
        return self.results

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Returns itself, as a job does."""
        return self


class ReusedTrainable(tune.Trainable):
    """A Tune actor that gets one run after another; without one it waits for one, warm."""

    _pause = SHORTEST_PAUSE_S

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Stops the present run, if it is unfinished, and starts another."""
        self._stop()
        self._pause = SHORTEST_PAUSE_S
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Stops an unfinished run, whose state is stored."""
        self._stop()

    def _begin(self, config: dict[str, Any]) -> None:
        """Starts a run, and forgets its configuration, which Tune would send back to the driver with each result."""
        self._start(config)
        self.config = {}

    def _wait(self) -> dict[str, Any]:
        """Waits a little, longer each time, and returns the result of an actor without a run."""
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        return {"run_id": None, "done": False}

    def _start(self, config: dict[str, Any]) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError


class RunTrainable(ReusedTrainable):
    """Executes runs. Its config is `{"run_id", "job", "options"}`."""

    _options: WorkerOptions
    _execution: Execution | None
    _speed: Speed
    _open_data: OpenData

    def setup(self, config: dict[str, Any]) -> None:
        """Starts the first run."""
        import coretune.runs.build
        import coretune.runs.execute  # seconds of imports, before the first run and not in it
        from coretune.runs.process import set_up

        options: WorkerOptions = config["options"]
        set_up(threads=options.resources.worker_threads, deterministic=options.resources.deterministic)
        self._open_data = coretune.runs.build.OpenData()
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Trains for about `report_every_s`, or to the run's end; without a run, waits a little.

        A run with further evaluations returns once more between its last epoch and those: they may take minutes, in
        which it would seem to be training still.
        """
        if self._execution is None:
            return self._wait()
        job = self._execution.job
        deadline = time.perf_counter() + self._options.report_every_s
        result: dict[str, Any] = {"run_id": self._execution.run_id, "reports": [], "done": False}
        result["life"] = self._execution.life()
        for event in self._execution:
            result |= {"epoch": event.epoch, "images_per_s": self._speed.after(event)}
            if (metrics := getattr(event, "metrics", None)) is not None:
                result["reports"].append((event.epoch, dict(metrics)))
            trained = metrics is not None and event.epoch == job.spec.train.epochs
            if time.perf_counter() >= deadline or (trained and job.further):
                return result
        record = self._execution.record
        return result | {"done": True, "outcome": record.status if record is not None else "lost"}

    def _start(self, config: dict[str, Any]) -> None:
        self._options = config["options"]
        self._speed = Speed()
        self._execution = None if config["job"] is None else start(config["job"], self._options, self._open_data)

    def _stop(self) -> None:
        execution = self._execution
        if execution is not None and execution.record is None:
            execution.stop()


def start(job: Job, options: WorkerOptions, open_data: OpenData | None = None) -> Execution:
    """Returns the execution of a job in this process."""
    from coretune.runs.build import OpenData, context_of
    from coretune.runs.execute import Execution

    catalog, context = load_catalog(job.plugins), context_of(options.resources)
    return Execution(job, ResultsStore(options.results), catalog, context, open_data or OpenData())
