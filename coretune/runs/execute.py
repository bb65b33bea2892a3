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

import torch

from coretune.data.dataset import Dataset
from coretune.errors import StorageError
from coretune.nets.model import Model
from coretune.results.files import set_aside
from coretune.results.life import Life
from coretune.results.manifest import environment
from coretune.results.record import Cause, Record, Status
from coretune.results.retry import needed_weights
from coretune.results.store import ResultsStore
from coretune.results.times import now_iso
from coretune.runs.build import build_parts, open_job_data
from coretune.runs.causes import cause_of
from coretune.runs.evaluate import evaluate_model
from coretune.runs.folder import RunFolder, finite
from coretune.runs.job import Job
from coretune.runs.memory import exhausted, halved, smallest_micro_batch
from coretune.runs.peers import Peers
from coretune.runs.state import RunState
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
        open_data: Callable[[Job, Catalog], Dataset] = open_job_data,
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
        self._parts: Parts | None = None
        self._training: Training | None = None
        self._asked_to_stop = self._anew = False
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
        self._folder.describe(self.job.spec)
        self.log(f"start on {platform.node()} (pid {os.getpid()}, {self._context.device})")
        while True:
            try:
                if not self._only_evaluate():
                    yield from self._train()
                return
            except Exception as error:  # a method may be anybody's code: whatever it raises fails this run alone
                cause = self._agreed(error, "run")
                smaller = self._smaller(cause)
            if smaller is None:
                self._fail(cause)
                return
            # Out of the handler, which holds on to what the failed training had in memory.
            self._begin_anew(smaller)

    def _only_evaluate(self) -> bool:
        """Evaluates a run that is recorded already; returns False if it has to be trained, perhaps again."""
        record, missing = self._peers.share(self._recorded())
        if record is None:
            return False
        for spec in missing:
            dataset = self._open_data(self.job, self._catalog)
            model = self._trained_model(spec, dataset)
            if model is None:
                return False
            self._evaluate(model, dataset, spec)
        self.record = self._with_failures(record)
        return True

    def _recorded(self) -> tuple[Record | None, list[EvalSpec]]:
        """Returns the record, and what has yet to be evaluated; no record if the run has to be trained."""
        record = self._store.record(self.run_id)
        if record is None or record.status != "completed":
            return None, []
        missing = self._store.lacking(self.run_id, self.job.all_evaluations)
        if not self._store.has_weights(self.run_id, needed_weights(missing, keep=self.job.keep_weights)):
            self._note("trained again: it was recorded, but its weights, which are needed now, were not kept")
            return None, []
        return record, missing

    def _trained_model(self, spec: EvalSpec, dataset: Dataset) -> Model | None:
        """Returns the recorded run's model; None if its weights are damaged, which the first worker decides."""
        model, damage = None, None
        if self._peers.first:
            try:
                model = self._load(spec, dataset)
            except StorageError as error:
                aside = set_aside(self._store.weights_path(self.run_id, spec.weights))
                damage = f"trained again: {error}; set aside as {aside.name}"
        damage = self._peers.share(damage)
        if damage is not None:
            self._note(damage)
            return None
        return model or self._load(spec, dataset)

    def _load(self, spec: EvalSpec, dataset: Dataset) -> Model:
        return load_model(self.job, spec.weights, dataset, self._store, self._catalog, self._context)

    def _evaluate(self, model: Model, dataset: Dataset, spec: EvalSpec) -> None:
        """Makes one of the job's evaluations; a further one that fails is noted, and the run goes on."""
        self._peers.check()
        clock = time.perf_counter()
        eval_id = spec.eval_id(self.run_id)
        self._failed.pop(eval_id, None)
        try:
            evaluate_model(model, dataset, self.job, spec, self._store, self._catalog, self._context)
            self._peers.check()
        except Exception as error:  # an evaluation may be anybody's code, as a method may
            if spec in self.job.evaluations:
                raise
            self._failed[eval_id] = self._agreed(error, eval_id)
        self._evaluate_s += time.perf_counter() - clock

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

    def _with_failures(self, record: Record) -> Record:
        """Returns a recorded run's record with what became of the evaluations that it lacked, written if it changed."""
        tried = {spec.eval_id(self.run_id) for spec in self.job.all_evaluations}
        others = {key: cause for key, cause in record.failed_evaluations.items() if key not in tried}
        failed = others | self._failed
        if failed != record.failed_evaluations:
            record = record.replace(failed_evaluations=failed)
            if self._peers.first:
                self._store.put_record(record)
        return record

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
        if self._peers.first:
            self._leave()
        return True

    def _leave(self) -> None:
        settled = self._store.record(self.run_id)
        if settled is None:
            self.save_state()
        else:  # the driver gave the run up, and wrote so before it stopped it
            self.log(settled.status)

    def _begin(self, dataset: Dataset) -> tuple[Parts, Training]:
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

    def _make_parts(self, dataset: Dataset) -> Parts:
        best = any(spec.weights == "best" for spec in self.job.all_evaluations)
        return build_parts(
            self.job, dataset, self._store, self._catalog, self._context, keep_best=best, note=self._note
        )

    def _save_in_passing(self) -> None:
        """Stores the state; a run that cannot may still come to its end."""
        try:
            self.save_state()
        except StorageError as error:
            self._saved = time.perf_counter()
            self._note(f"its state could not be stored: {error}")

    def _finish(self, parts: Parts, training: Training, dataset: Dataset) -> None:
        best = training.best
        if self.job.keep_weights and self._peers.first:
            save_model(self.job, parts, best, dataset, self._store)
        for spec in self.job.all_evaluations:
            if spec.weights == "best" and best is not None:
                parts.model.load_state_dict(best.weights)
            self._evaluate(parts.model, dataset, spec)
        self._peers.check()
        self._settle(self._make_record("completed", None))

    def _make_record(self, status: Status, cause: Cause | None) -> Record:
        history = self._training.history if self._training is not None else []
        best = self._training.best if self._training is not None else None
        metrics: dict[str, dict[str, float]] = {}
        timings = {"total_s": self._elapsed()}
        notes = list(self._notes)
        if history:
            last = history[-1]
            metrics = {"last": dict(last.metrics), "train": finite(last.train)}
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
        self._folder.settle(record, keep_state=record.cause is not None and record.cause.kind in CURABLE)
        self.record = record
        self._training = self._parts = None
        with contextlib.suppress(StorageError):
            self.log(record.status if record.cause is None else f"failed: {record.cause.kind}: {record.cause.message}")

    def _fail(self, cause: Cause) -> None:
        if cause.kind == "out_of_memory" and self._parts is not None:
            cause = exhausted(cause, smallest_micro_batch(self._parts, self._context))
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
