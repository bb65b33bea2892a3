"""`execute(job)`: trains a run from its description to its record."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import torch

from coretune.data.dataset import Dataset
from coretune.errors import StorageError
from coretune.results.life import Life
from coretune.results.manifest import environment
from coretune.results.record import Cause, Record, Status
from coretune.results.store import ResultsStore
from coretune.results.times import now_iso
from coretune.robust.adversarial_training import overfitting
from coretune.runs.build import build_parts, open_job_data
from coretune.runs.causes import cause_of
from coretune.runs.folder import RunFolder, with_training
from coretune.runs.job import Job
from coretune.runs.judge import Judge
from coretune.runs.memory import exhausted, halved, smallest_micro_batch
from coretune.runs.peers import Peers
from coretune.runs.state import RunState
from coretune.runs.trained import average_of, save_model
from coretune.spec.components import Catalog
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Parts, Tick, Training, train

STATE_EVERY_S = 60.0
CURABLE = ("environment", "out_of_memory")
"""Failures after which another try, on a healthy or larger machine, goes on from the stored state."""


class Execution(Iterator[Tick | EpochReport]):
    """A run that is being executed: iterate it until it stops; then `record` is written.

    Failures of the run itself (a loss that is not finite, bad parameters, out of memory, a bug in a method) end the
    iteration with a record that says so. Only failures to write the record are raised. A completed record is never
    replaced by a failed one. A run that is out of memory is trained with half the micro-batch, as long as there is
    less to be had by that.

    Several workers execute a run together, each with an execution of its own: they iterate to the same events and to
    the same end, and the first of them writes the folder.

    Args:
        job: The run.
        store: Where its folder lies.
        catalog: What its names mean.
        context: Where and how it runs.
        open_data: Opens a run's data set; `OpenData` keeps it for the next run.
        peers: The workers; the context's `shard` is theirs.

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
        open_data: Callable[[Job, Catalog], Dataset[Any]] = open_job_data,
        peers: Peers | None = None,
    ) -> None:
        self.job = job
        self.record: Record | None = None
        self._store = store
        self._catalog = catalog
        self._context = context
        self._open_data = open_data
        self._peers = peers or Peers()
        self._folder = RunFolder(store, job.spec.run_id, writes=self._peers.first)
        self._judge = Judge(job, store, catalog, self._peers, self._agreed)
        self._parts: Parts | None = None
        self._training: Training | None = None
        self._asked_to_stop = self._anew = False
        self._unsaved: StorageError | None = None
        self._notes: list[str] = []
        self._started = now_iso()
        self._clock = time.perf_counter()
        self._elapsed_before = 0.0
        self._saved = self._clock
        self._environment = {
            **environment(),
            "device": str(context.device),
            "threads": torch.get_num_threads(),
            "micro_batch": context.micro_batch,
            "channels_last": context.channels_last,
            "compile": context.compile,
        }
        if context.shard.workers > 1:
            self._environment["workers"] = context.shard.workers
        self._events = self._run()

    def __next__(self) -> Tick | EpochReport:
        return next(self._events)

    def ask_to_stop(self) -> None:
        """Stops all workers of the run after this event, as the first of them asks for; they store the state.

        The iteration ends then, without a record. One worker alone is stopped by `save_state` and `close`.
        """
        self._asked_to_stop = True

    def save_state(self) -> None:
        """Stores the state of an unfinished run, so that another execution goes on from here.

        Raises:
            StorageError: The disk is full or read-only.
        """
        if self._training is None or self.record is not None or not self._training.resumable or not self._peers.first:
            return
        self._folder.save_state(RunState(self._training.state(), self._started, self._elapsed(), tuple(self._notes)))
        self._saved = time.perf_counter()

    def stop(self) -> None:
        """Stores the state and stops where it is; a run that was given up meanwhile is recorded, and needs no state.

        Raises:
            StorageError: The disk is full or read-only.
        """
        self._leave()
        self.close()

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
        self._folder.log(text)

    def _run(self) -> Generator[Tick | EpochReport, None, None]:
        if not self._writable():
            return
        smaller: Context | None = None
        while True:
            try:
                if smaller is not None:
                    self._begin_anew(smaller)
                if not self._only_evaluate():
                    yield from self._train()
                break
            except Exception as error:  # a method may be anybody's code: whatever it raises fails this run alone
                cause = self._agreed(error, "run")
                smaller = self._smaller(cause)
            # Out of the handler, which holds on to what the failed training had in memory.
            if smaller is None:
                self._fail(cause)
                return
        if self._unsaved is not None:
            raise self._unsaved

    def _writable(self) -> bool:
        """Begins the folder; returns whether the first worker could."""
        unwritten: StorageError | None = None
        try:
            self._folder.describe(self.job.spec)
            self.log(f"start on {platform.node()} (pid {os.getpid()}, {self._context.device})")
        except StorageError as error:
            unwritten = error
        written = self._peers.share(unwritten is None)
        if unwritten is not None:
            raise unwritten
        return written

    def _only_evaluate(self) -> bool:
        """Evaluates a run that is recorded already; returns False if it has to be trained, perhaps again."""
        record, missing = self._peers.share(self._judge.lacking(self._note) if self._peers.first else (None, []))
        if record is None:
            return False
        for spec in missing:
            dataset = self._open_data(self.job, self._catalog)
            model = self._judge.trained_model(spec, dataset, self._context, self._note)
            if model is None:
                return False
            self._judge.evaluate(model, dataset, spec, self._context)
        self.record = self._judge.with_failures(record)
        return True

    def _agreed(self, error: Exception, part: str) -> Cause:
        """Returns the cause that all workers agree on once one of them has failed in a part of the run."""
        self.log("".join(traceback.format_exception(error)).rstrip())
        # What the failed computation had in memory, and its hold on the other workers, stands in these frames.
        raised: BaseException | None = error
        while raised is not None:
            traceback.clear_frames(raised.__traceback__)
            raised = raised.__context__
        cause = self._peers.agree(cause_of(error), part)
        self._context = replace(self._context, shard=self._peers.shard)
        return cause

    def _smaller(self, cause: Cause) -> Context | None:
        """Returns a context with which a run that is out of memory may fit, or None."""
        if cause.kind != "out_of_memory" or self._training is None or self._parts is None:
            return None
        return halved(self._parts, self._context)

    def _begin_anew(self, smaller: Context) -> None:
        """Frees what the failed training had in memory, for another one with smaller micro-batches."""
        self._note(f"out of memory: trained with micro-batches of {smaller.micro_batch}, the same mathematics")
        self._context, self._anew = smaller, True
        self._environment["micro_batch"] = smaller.micro_batch
        self._training = self._parts = None
        gc.collect()
        if smaller.device.type == "cuda":
            torch.cuda.empty_cache()

    def _train(self) -> Generator[Tick | EpochReport, None, None]:
        dataset = self._open_data(self.job, self._catalog)
        if dataset.left_out:
            self._note(dataset.left_out)
        parts, training = self._begin(dataset)
        self._parts, self._training = parts, training
        self._folder.put_reports(training.history)
        # Told again: what a pruner heard of them may have been lost with the process that asked it.
        for report in tuple(training.history):
            yield report
            if self._stops():
                return
        for event in training:
            if isinstance(event, EpochReport):
                self._folder.add_report(event)
                if said := overfitting(event):
                    self._note(said)
            if time.perf_counter() - self._saved >= STATE_EVERY_S:
                self._save_in_passing()
            yield event
            if self._stops():
                return
        self._finish(parts, training, dataset)

    def _stops(self) -> bool:
        """Returns whether the workers stop here, with the state stored."""
        if self._context.shard.workers == 1 or not self._peers.share(self._asked_to_stop):
            return False
        try:
            if self._peers.first:
                self._leave()
        except StorageError as error:  # raised once all workers have come to the end
            self._unsaved = error
        return True

    def _leave(self) -> None:
        settled = self._store.record(self.run_id)
        if settled is None:
            self.save_state()
        else:  # the driver gave the run up, and wrote so before it stopped it
            self.log(settled.status)

    def _begin(self, dataset: Dataset[Any]) -> tuple[Parts, Training]:
        """Returns the parts and their training, from the stored state on if there is a sound one."""
        parts = self._make_parts(dataset)
        state = self._peers.share(self._stored_state())
        if state is None:
            return parts, train(parts, self._context)
        try:
            training = train(parts, self._context, state.training)
        except ValueError as error:
            self._set_state_aside(error)
            parts = self._make_parts(dataset)  # it may have been loaded in part
            return parts, train(parts, self._context)
        if not self._anew:
            self._started, self._elapsed_before = state.started, state.elapsed_s
        # What is said whenever the parts are built stands in the state already.
        self._notes = list(dict.fromkeys((*state.notes, *self._notes)))
        self.log(f"resume at epoch {state.training['epoch'] + 1}, step {state.training['step'] + 1}")
        return parts, training

    def _stored_state(self) -> RunState | None:
        if not self._peers.first:
            return None
        try:
            return self._folder.load_state()
        except ValueError as error:
            self._set_state_aside(error)
            return None

    def _set_state_aside(self, error: ValueError) -> None:
        self._note(f"{error}; set aside as {self._folder.set_state_aside()}, trained from the start")

    def _make_parts(self, dataset: Dataset[Any]) -> Parts:
        wanted = {spec.weights for spec in self.job.all_evaluations}
        return build_parts(
            self.job,
            dataset,
            self._store,
            self._catalog,
            self._context,
            keep_best="best" in wanted,
            keep_average="swad" in wanted,
            note=self._note,
        )

    def _save_in_passing(self) -> None:
        """Stores the state; a run that cannot may still come to its end."""
        try:
            self.save_state()
        except StorageError as error:
            self._saved = time.perf_counter()
            self._note(f"its state could not be stored: {error}")

    def _finish(self, parts: Parts, training: Training, dataset: Dataset[Any]) -> None:
        best = training.best
        average = average_of(training, parts, self._context, self._note)
        if self.job.keep_weights and self._peers.first:
            save_model(self.job, parts, best, dataset, self._store, average)
        for spec in self.job.all_evaluations:
            if spec.weights == "best" and best is not None:
                parts.model.load_state_dict(best.weights)
            if spec.weights == "swad" and average is not None:
                parts.model.load_state_dict(average)
            self._judge.evaluate(parts.model, dataset, spec, self._context)
        self._peers.check()
        self._settle(self._make_record("completed", None))

    def _make_record(self, status: Status, cause: Cause | None) -> Record:
        record = Record(
            run_id=self.run_id,
            status=status,
            cause=cause,
            spec=self.job.spec.canonical(),
            timings={"total_s": self._elapsed()},
            environment=self._environment,
            notes=tuple(self._notes),
            failed_evaluations=self._judge.failed,
            started=self._started,
            finished=now_iso(),
        )
        return record if self._training is None else with_training(record, self._training, self._judge.seconds)

    def _settle(self, record: Record) -> None:
        """Writes the record; nothing after that can fail the run."""
        self._folder.settle(record, keep_state=record.cause is not None and record.cause.kind in CURABLE)
        self.record = record
        self._training = self._parts = None
        with contextlib.suppress(StorageError):
            self.log(record.status if record.cause is None else f"failed: {record.cause.kind}: {record.cause.message}")

    def _fail(self, cause: Cause) -> None:
        if cause.kind == "out_of_memory" and self._parts is not None:
            cause = exhausted(cause, smallest_micro_batch(self._parts, self._context))
        recorded = self._store.record(self.run_id) if self._peers.first else None
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
