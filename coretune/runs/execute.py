"""`execute(job)`: trains a run from its description to its record."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import torch

from coretune.data.dataset import Dataset
from coretune.errors import StorageError
from coretune.nets.model import Model
from coretune.results.files import append_line, put_atomic, set_aside
from coretune.results.life import Life
from coretune.results.manifest import environment
from coretune.results.record import Cause, Record, Status
from coretune.results.retry import needed_weights
from coretune.results.store import ResultsStore
from coretune.results.times import now_iso
from coretune.runs.build import build_parts, open_job_data
from coretune.runs.causes import cause_of
from coretune.runs.evaluate import evaluate_model
from coretune.runs.job import Job
from coretune.runs.state import RunState, load_state, save_state
from coretune.runs.trained import load_model, save_model
from coretune.spec.components import Catalog
from coretune.spec.run import EvalSpec
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Parts, Tick, Training, train

STATE_EVERY_S = 60.0
CURABLE = ("environment", "out_of_memory")
"""Failures after which another try, on a healthy or larger machine, goes on from the stored state."""


class Execution(Iterator[Tick | EpochReport]):
    """A run that is being executed: iterate it until it stops; then `record` is written.

    Failures of the run itself (a loss that is not finite, bad parameters, out of memory, a bug in a method) end the
    iteration with a record that says so. Only failures to write the record are raised. A completed record is never
    replaced by a failed one.

    Args:
        job: The run.
        store: Where its folder lies.
        catalog: What its names mean.
        context: Where and how it runs.
        open_data: Opens a run's data set; `OpenData` keeps it for the next run.

    Attributes:
        record: The record, once the iteration has stopped.

    Raises (from `next`):
        StorageError: The results directory cannot be written.
    """

    def __init__(
        self,
        job: Job,
        store: ResultsStore,
        catalog: Catalog,
        context: Context,
        open_data: Callable[[Job, Catalog], Dataset] = open_job_data,
    ) -> None:
        self.job = job
        self.record: Record | None = None
        self._store = store
        self._catalog = catalog
        self._context = context
        self._open_data = open_data
        self._training: Training | None = None
        self._notes: list[str] = []
        self._failed: dict[str, Cause] = {}
        self._started = now_iso()
        self._clock = time.perf_counter()
        self._elapsed_before = 0.0
        self._saved = self._clock
        self._evaluate_s = 0.0
        self._environment = {
            **environment(),
            "device": str(context.device),
            "threads": torch.get_num_threads(),
            "micro_batch": context.micro_batch,
            "channels_last": context.channels_last,
            "compile": context.compile,
        }
        self._events = self._run()

    def __next__(self) -> Tick | EpochReport:
        return next(self._events)

    def save_state(self) -> None:
        """Stores the state of an unfinished run, so that another execution goes on from here.

        Raises:
            StorageError: The disk is full or read-only.
        """
        if self._training is None or self.record is not None or not self._training.resumable:
            return
        state = RunState(self._training.state(), self._started, self._elapsed(), tuple(self._notes))
        save_state(self._store.state_folder(self.run_id), self.run_id, state)
        self._saved = time.perf_counter()

    def close(self) -> None:
        """Stops where it is, without a record."""
        self._events.close()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.job.spec.run_id

    def life(self) -> Life:
        """Returns when and on what the run is executed."""
        return Life(self._started, self._elapsed(), self._environment)

    def log(self, text: str) -> None:
        """Adds a line to the run's log.

        Raises:
            StorageError: The disk is full or read-only.
        """
        append_line(self._store.run_folder(self.run_id) / "log.txt", f"{now_iso()} {text}")

    def _run(self) -> Generator[Tick | EpochReport, None, None]:
        folder = self._store.run_folder(self.run_id)
        put_atomic(folder / "run.json", (self.job.spec.to_json() + "\n").encode(), durable=False)
        self.log(f"start on {platform.node()} (pid {os.getpid()}, {self._context.device})")
        try:
            if not self._only_evaluate():
                yield from self._train()
        except Exception as error:  # a method may be anybody's code: whatever it raises fails this run, not the study
            self._fail(error)

    def _only_evaluate(self) -> bool:
        """Evaluates a run that is recorded already; returns False if it has to be trained, perhaps again."""
        record = self._store.record(self.run_id)
        if record is None or record.status != "completed":
            return False
        missing = self._store.lacking(self.run_id, self.job.all_evaluations)
        if not self._store.has_weights(self.run_id, needed_weights(missing, keep=self.job.keep_weights)):
            self._note("trained again: it was recorded, but its weights, which are needed now, were not kept")
            return False
        for spec in missing:
            dataset = self._open_data(self.job, self._catalog)
            try:
                model = load_model(self.job, spec.weights, dataset, self._store, self._catalog, self._context)
            except StorageError as error:
                aside = set_aside(self._store.weights_path(self.run_id, spec.weights))
                self._note(f"trained again: {error}; set aside as {aside.name}")
                return False
            self._evaluate(model, dataset, spec)
        self.record = self._with_failures(record)
        return True

    def _evaluate(self, model: Model, dataset: Dataset, spec: EvalSpec) -> None:
        """Makes one of the job's evaluations; a further one that fails is noted, and the run goes on."""
        clock = time.perf_counter()
        eval_id = spec.eval_id(self.run_id)
        self._failed.pop(eval_id, None)
        try:
            evaluate_model(model, dataset, self.job, spec, self._store, self._catalog, self._context)
        except Exception as error:  # an evaluation may be anybody's code, as a method may
            if spec in self.job.evaluations:
                raise
            self.log("".join(traceback.format_exception(error)).rstrip())
            self._failed[eval_id] = cause_of(error)
        self._evaluate_s += time.perf_counter() - clock

    def _with_failures(self, record: Record) -> Record:
        """Returns a recorded run's record with what became of the evaluations that it lacked, written if it changed."""
        tried = {spec.eval_id(self.run_id) for spec in self.job.all_evaluations}
        others = {key: cause for key, cause in record.failed_evaluations.items() if key not in tried}
        failed = others | self._failed
        if failed != record.failed_evaluations:
            record = record.replace(failed_evaluations=failed)
            self._store.put_record(record)
        return record

    def _train(self) -> Generator[Tick | EpochReport, None, None]:
        dataset = self._open_data(self.job, self._catalog)
        if dataset.left_out:
            self._note(dataset.left_out)
        parts, training = self._begin(dataset)
        self._training = training
        # The file begins with the epochs that this training goes on from, so that none stands in it twice.
        put_atomic(self._metrics_file, "".join(_metrics_line(report) for report in training.history).encode())
        # Told again: what a pruner heard of them may have been lost with the process that asked it.
        yield from tuple(training.history)
        for event in training:
            if isinstance(event, EpochReport):
                append_line(self._metrics_file, _metrics_line(event).rstrip())
            if time.perf_counter() - self._saved >= STATE_EVERY_S:
                self._save_in_passing()
            yield event
        self._finish(parts, training, dataset)

    def _begin(self, dataset: Dataset) -> tuple[Parts, Training]:
        """Returns the parts and their training, from the stored state on if there is a sound one."""
        parts = self._parts(dataset)
        try:
            state = load_state(self._store.state_folder(self.run_id), self.run_id)
        except ValueError as error:
            state = None
            self._set_state_aside(error)
        if state is None:
            return parts, train(parts, self._context)
        try:
            training = train(parts, self._context, state.training)
        except ValueError as error:
            self._set_state_aside(error)
            parts = self._parts(dataset)  # it may have been loaded in part
            return parts, train(parts, self._context)
        self._started, self._elapsed_before = state.started, state.elapsed_s
        # What is said whenever the parts are built stands in the state already.
        self._notes = list(dict.fromkeys((*state.notes, *self._notes)))
        self.log(f"resume at epoch {state.training['epoch'] + 1}, step {state.training['step'] + 1}")
        return parts, training

    def _set_state_aside(self, error: ValueError) -> None:
        aside = set_aside(self._store.state_folder(self.run_id))
        self._note(f"{error}; set aside as {aside.name}, trained from the start")

    def _parts(self, dataset: Dataset) -> Parts:
        best = any(spec.weights == "best" for spec in self.job.all_evaluations)
        return build_parts(
            self.job, dataset, self._store, self._catalog, self._context, keep_best=best, note=self._note
        )

    @property
    def _metrics_file(self) -> Path:
        return self._store.run_folder(self.run_id) / "metrics-0.jsonl"

    def _save_in_passing(self) -> None:
        """Stores the state; a run that cannot may still come to its end."""
        try:
            self.save_state()
        except StorageError as error:
            self._saved = time.perf_counter()
            self._note(f"its state could not be stored: {error}")

    def _finish(self, parts: Parts, training: Training, dataset: Dataset) -> None:
        best = training.best
        if self.job.keep_weights:
            save_model(self.job, parts, best, dataset, self._store)
        for spec in self.job.all_evaluations:
            if spec.weights == "best" and best is not None:
                parts.model.load_state_dict(best.weights)
            self._evaluate(parts.model, dataset, spec)
        self._settle(self._make_record("completed", None))

    def _make_record(self, status: Status, cause: Cause | None) -> Record:
        history = self._training.history if self._training is not None else []
        best = self._training.best if self._training is not None else None
        metrics: dict[str, dict[str, float]] = {}
        timings = {"total_s": self._elapsed()}
        notes = list(self._notes)
        if history:
            last = history[-1]
            metrics = {"last": dict(last.metrics), "train": _finite(last.train)}
            timings |= {"train_s": last.seconds, "evaluate_s": last.evaluate_s + self._evaluate_s}
            timings["images_per_s"] = last.images / max(last.seconds, 1e-9)
            notes += [f"{name}: {count}" for name, count in last.counts.items() if count]
            notes += [f"the mean of {name} is not finite" for name in last.train if name not in metrics["train"]]
        if best is not None:
            metrics["best"] = {**best.metrics, "epoch": float(best.epoch)}
        return Record(
            run_id=self.run_id,
            status=status,
            cause=cause,
            spec=self.job.spec.canonical(),
            metrics={name: values for name, values in metrics.items() if values},
            timings=timings,
            environment=self._environment,
            notes=tuple(notes),
            failed_evaluations=self._failed,
            started=self._started,
            finished=now_iso(),
        )

    def _settle(self, record: Record) -> None:
        """Writes the record; nothing after that can fail the run."""
        self._store.put_record(record)
        self.record = record
        self._training = None
        if record.cause is None or record.cause.kind not in CURABLE:
            self._store.drop_state(self.run_id)
        with contextlib.suppress(StorageError):
            self.log(record.status if record.cause is None else f"failed: {record.cause.kind}: {record.cause.message}")

    def _fail(self, error: Exception) -> None:
        self.log("".join(traceback.format_exception(error)).rstrip())
        cause = cause_of(error)
        recorded = self._store.record(self.run_id)
        if recorded is None or recorded.status != "completed":
            self._settle(self._make_record("failed", cause))
            return
        note = f"executed again at {now_iso()}: {cause.kind}: {cause.message}"
        self._settle(recorded.replace(notes=(*recorded.notes, note)))

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)
        self.log(text)

    def _elapsed(self) -> float:
        return self._elapsed_before + time.perf_counter() - self._clock


def _metrics_line(report: EpochReport) -> str:
    line = {
        "epoch": report.epoch,
        **report.metrics,
        "train": _finite(report.train),
        "seconds": round(report.seconds, 3),
    }
    return json.dumps(line, allow_nan=False) + "\n"


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """Returns what JSON can hold: a method's term may be undefined while its loss is not."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
