"""What is to be run, what runs, and what has come of it: the study's bookkeeping, without Ray and without a clock.

The engine asks `next_job`, and tells `on_report`, `on_finished`, `on_lost`. A run that several trials or cells need is
made once; a run that is recorded, here or in a neighbouring results directory, is not made at all.
"""

from __future__ import annotations

import threading

import optuna

from coretune.errors import UnfitError
from coretune.results.files import CORRUPT
from coretune.results.life import Life
from coretune.results.record import Cause, Record
from coretune.results.retry import needed_weights, should_evaluate, should_train
from coretune.results.store import ResultsStore
from coretune.runs.job import Job
from coretune.spec.run import RunSpec
from coretune.study.cell import StudyCell
from coretune.study.events import EventLog
from coretune.study.files import CellFiles
from coretune.study.journal import MemoryJournal
from coretune.study.resolved import ResolvedStudy
from coretune.study.saved import SavedSearch
from coretune.study.waiting import Consumer, Fits, Run, RunQueue, anything

LOST_LIMIT = 3
SAID = 300
"""Characters of a failure's message that an event repeats; the record has all of it."""


class CellBook:
    """The bookkeeping of one study.

    Args:
        study: What is asked for.
        store: Where records lie. Its directory is locked by this process.
        events: What happened, for people.
        retry_failed: Also train again what failed for a reason of its own.

    Attributes:
        cells: In the order of the study file.
        runs: All runs that somebody waits or waited for, by id.
        stopping: Why no further run is started, or None.
        broken: Why the study's files cannot be written, or None.
        journal: Optuna's journal of all cells.
    """

    def __init__(
        self, study: ResolvedStudy, store: ResultsStore, events: EventLog, *, retry_failed: bool = False
    ) -> None:
        self.study = study
        self.runs: dict[str, Run] = {}
        self.stopping: str | None = None
        self.broken: UnfitError | None = None
        self.journal = MemoryJournal()
        self._store = store
        self._files = CellFiles(store)
        self._events = events
        self._retry_failed = retry_failed
        self._queue = RunQueue(self._is_ready)
        self._lock = threading.RLock()
        self._saved = SavedSearch(study, store, events, retry_failed=retry_failed)
        storage = optuna.storages.JournalStorage(self.journal)
        self.cells = [StudyCell(study, cell, storage, self._saved.trials(cell)) for cell in study.cells]
        for cell in self.cells:
            for trial in cell.trials:
                if trial.state == "running":
                    self._want_trial(cell, trial.number)
            if cell.can_propose:
                self._prepare(cell)
            self._advance(cell)
        self._files.write_all()

    @property
    def lock(self) -> threading.RLock:
        """Held while the book changes; hold it to read several things that belong together."""
        return self._lock

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing is left to start."""
        with self._lock:
            if self.broken is not None:
                return True
            if any(run.state == "running" for run in self.runs.values()):
                return False
            return self.stopping is not None or (not len(self._queue) and not any(map(self._proposes, self.cells)))

    def ready(self, fits: Fits = anything) -> int:
        """Returns how many runs `next_job` could start now, at the least: a trial may have several.

        Args:
            fits: Whether there is a place for a run of so many workers.
        """
        with self._lock:
            if self.stopping is not None:
                return 0
            cells = [cell for cell in self.cells if fits(self._workers(cell)) and self._proposes(cell)]
            return self._queue.ready(fits) + sum(cell.budget - len(cell.trials) for cell in cells)

    def next_job(self, fits: Fits = anything) -> Job | None:
        """Returns the next run to start, or None if there is none now.

        Runs that are queued go first (preparations, final runs, repeats, retries); then the cell that is furthest
        behind proposes its next trial.

        Args:
            fits: Whether there is a place for a run of so many workers.
        """
        with self._lock:
            while self.stopping is None:
                run = self._queue.pop(fits)
                if run is not None:
                    run.state = "running"
                    return run.job
                ready = [cell for cell in self.cells if fits(self._workers(cell)) and self._proposes(cell)]
                if not ready:
                    return None
                cell = min(ready, key=lambda item: len(item.trials) / item.budget)
                number = cell.propose().number
                self._files.proposed(cell, number)
                self._want_trial(cell, number)
                self._advance(cell)
            return None

    def stop(self, reason: str) -> None:
        """Starts no further run; the engine stops those that are under way, and they store their state."""
        with self._lock:
            if self.stopping is None:
                self.stopping = reason
                self._events.add("warning", f"stopping: {reason}; runs under way store their state")

    def give_up(self, error: UnfitError) -> None:
        """Ends the study because its files cannot be written: what runs is stopped, and not waited for."""
        with self._lock:
            self.broken = self.broken or error
            self.stop(str(error))

    def write_searches(self) -> None:
        """Writes the searches whose files are behind what this book knows.

        Raises:
            StorageError: One cannot be written.
        """
        for cell in self._files.behind:
            with self._lock:  # for one at a time: meanwhile no run is started
                self._files.write(cell)
        with self._lock:
            self._files.write_all()

    def on_life(self, run_id: str, life: Life) -> None:
        """Takes when and on what a run is executed."""
        with self._lock:
            self.runs[run_id].life = life

    def on_report(self, run_id: str, step: int, metrics: dict[str, float]) -> bool:
        """Takes the metrics of an epoch; returns whether the run should be given up."""
        with self._lock:
            run = self.runs[run_id]
            run.last_metrics = dict(metrics)
            (consumer, *others) = run.consumers
            metric = self.study.loaded.study.objective.metrics[0]
            if run.unwanted:
                run.pruned = True
            elif consumer.role == "search" and not others and metric in metrics:
                alone = len(consumer.cell.trials[consumer.number].runs) == 1
                run.pruned = run.pruned or (alone and consumer.cell.report(consumer.number, metrics[metric], step))
            return run.pruned

    def on_finished(self, run_id: str, *, ended: bool) -> Record | None:
        """Takes the end of a run's execution; returns its record, or None if there is none yet.

        Args:
            run_id: The run.
            ended: Whether the run itself came to its end and wrote its record; otherwise it was stopped.
        """
        with self._lock:
            run = self.runs[run_id]
            record = self._saved.record(run_id) if ended else None
            if record is None and run.pruned:
                record = run.driver_record("pruned", None)
                self._store.put_record(record)
                self._store.drop_state(run_id)
            if record is None:
                self.on_lost(run_id, "its record is missing" if ended else "it was stopped before its end")
                return None
            self._deliver(run, record)
            return record

    def on_lost(self, run_id: str, why: str) -> None:
        """Takes the loss of the process that trained a run: it is tried again, three times in all."""
        with self._lock:
            run = self.runs[run_id]
            if self.stopping is not None:
                run.state = "queued"
                return
            run.lost += 1
            if run.lost < LOST_LIMIT:
                self._events.add("warning", f"{run.label}: {why}; tried again")
                self._queue.add(run, first=True)
                return
            record = run.driver_record("failed", Cause(kind="environment", message=f"{why} (tried {run.lost} times)"))
            self._store.put_record(record)
            self._deliver(run, record)

    def _is_ready(self, job: Job) -> bool:
        return all(run_id in self.runs and self.runs[run_id].state == "done" for run_id in job.spec.needs)

    def _proposes(self, cell: StudyCell) -> bool:
        needed = cell.resolved.pretraining
        return cell.can_propose and (needed is None or self.runs[needed.run_id].state == "done")

    def _want_trial(self, cell: StudyCell, number: int) -> None:
        trial = cell.trials[number]
        for repeat, spec in enumerate(trial.runs):
            if trial.state == "running":
                label = f"{cell.key} trial {number}" + (f".{repeat}" if len(trial.runs) > 1 else "")
                self._want(spec, label, Consumer("search", cell, number, repeat))

    def _prepare(self, cell: StudyCell) -> None:
        """Wants what the cell's runs need first."""
        needed = cell.resolved.pretraining
        if needed is not None and needed.run_id not in self.runs:
            what = cell.resolved.cell
            label = f"{needed.method.name} {what.backbone.label} on {what.pretraining_data.label}"
            self._want(needed, label, Consumer("prepare", cell))
        elif needed is not None and all(c.cell is not cell for c in self.runs[needed.run_id].consumers):
            self.runs[needed.run_id].consumers.append(Consumer("prepare", cell))

    def _want(self, spec: RunSpec, label: str, consumer: Consumer) -> None:
        """Notes that somebody waits for a run: delivers its record, joins it if it is under way, or queues it."""
        run = self.runs.get(spec.run_id)
        if run is None:
            run = self.runs[spec.run_id] = Run(self._job(spec, consumer), label)
            weights = consumer.role == "prepare"
            if self._saved.record(spec.run_id) is None and self._store.adopt(spec.run_id, weights=weights):
                self._events.add("info", f"{label}: taken over from another results directory")
            run.state = "done"
        run.consumers.append(consumer)
        if run.state != "done":
            return
        record = self._saved.record(spec.run_id)
        if record is not None and self._suffices(spec, record, consumer):
            run.status = record.status
            self._inform(consumer, record)
            return
        run.job = self._job(spec, consumer)
        if record is not None and record.status == "completed" and consumer.role == "final":
            self._say_lack(run)
        self._queue.add(run, first=consumer.role == "prepare")
        if spec.needs:
            self._prepare(consumer.cell)

    def _suffices(self, spec: RunSpec, record: Record, consumer: Consumer) -> bool:
        if should_train(record, retry_failed=self._retry_failed):
            return False
        if record.status != "completed":
            return True
        if consumer.role == "final":
            return not self._lacks(record, consumer.cell)
        return consumer.role != "prepare" or self._store.has_weights(spec.run_id, ["last"])

    def _lacks(self, record: Record, cell: StudyCell) -> bool:
        """Returns whether a completed final run has an evaluation to be made."""
        if self._store.lacking(record.run_id, cell.evaluations()):
            return True
        lacking = self._store.lacking(record.run_id, cell.further_evaluations())
        ids = [spec.eval_id(record.run_id) for spec in lacking]
        return any(should_evaluate(record, eval_id, retry_failed=self._retry_failed) for eval_id in ids)

    def _say_lack(self, run: Run) -> None:
        """Says what a recorded final run is executed again for."""
        run_id, job = run.job.spec.run_id, run.job
        missing = self._store.lacking(run_id, job.all_evaluations)
        names = ", ".join(dict.fromkeys(spec.evaluation.name for spec in missing))
        if self._store.has_weights(run_id, needed_weights(missing, keep=job.keep_weights)):
            self._events.add("info", f"{run.label}: recorded, to be evaluated: {names}")
        else:
            self._events.add(
                "warning", f"{run.label}: trained again to be evaluated ({names}): its weights were not kept"
            )

    @property
    def fewest_workers(self) -> int:
        """The fewest workers that a run of this study has."""
        return min(map(self._workers, self.cells), default=self.study.loaded.study.resources.workers)

    def _workers(self, cell: StudyCell) -> int:
        return cell.resolved.cell.backbone.workers or self.study.loaded.study.resources.workers

    def _job(self, spec: RunSpec, consumer: Consumer) -> Job:
        cell, keep = consumer.cell.resolved.cell, self.study.loaded.study.keep
        final = consumer.role == "final"
        data = cell.pretraining_data if consumer.role == "prepare" else cell.dataset
        return Job(
            spec=spec,
            data_path=data.path,
            checkpoint=cell.backbone.checkpoint,
            keep_weights=consumer.role == "prepare" or keep == "all" or (keep == "finals" and final),
            evaluations=consumer.cell.evaluations() if final else (),
            plugins=self.study.loaded.plugins,
            further=consumer.cell.further_evaluations() if final else (),
            workers=self._workers(consumer.cell),
        )

    def _deliver(self, run: Run, record: Record) -> None:
        run.state, run.status = "done", record.status
        run.life = None  # the record has it
        if record.status == "completed" and any(consumer.role == "prepare" for consumer in run.consumers):
            figures = "".join(f", {name} {value:.1f}" for name, value in record.metrics.get("last", {}).items())
            self._events.add("info", f"{run.label}: done in {record.timings.get('total_s', 0.0):.0f} s{figures}")
        if record.status == "failed" and record.cause is not None:
            self._events.add("error", f"{run.label}: {record.cause.kind}: {record.cause.message[:SAID]}")
        names = {spec.eval_id(record.run_id): spec.evaluation.name for spec in run.job.further}
        for eval_id, cause in record.failed_evaluations.items():
            if eval_id in names:
                what = f"evaluation {names[eval_id]}: {cause.kind}: {cause.message[:SAID]}"
                self._events.add("error", f"{run.label}: {what}")
        for note in record.notes:
            if CORRUPT in note:
                self._events.add("warning", f"{run.label}: {note}")
        for consumer in list(run.consumers):
            self._inform(consumer, record)

    def _inform(self, consumer: Consumer, record: Record) -> None:
        cell = consumer.cell
        if consumer.role == "search":
            cell.deliver(consumer.number, consumer.repeat, record)
        elif consumer.role == "final":
            settled = cell.settled
            cell.take_final(consumer.number, record, self._test_score(record))
            if cell.settled and not settled:
                self._events.add("info", f"{cell.key}: all final runs done")
        elif record.status != "completed" and cell.failure is None:
            cell.failure = f"its pre-training {record.run_id} {record.status}"
            self._events.add("error", f"{cell.key}: {cell.failure}")
        self._advance(cell)

    def _test_score(self, record: Record) -> float | None:
        """Returns the objective of a final run on the test part, of two the first; None unless it has all of them."""
        found = []
        for metric in self.study.loaded.study.objective.metrics:
            spec = self.study.evaluation_of(metric)
            evaluation = self._store.evaluation(record.run_id, spec.eval_id(record.run_id))
            found.append(None if evaluation is None else evaluation.metrics[metric])
        return None if None in found else found[0]

    def _advance(self, cell: StudyCell) -> None:
        """Queues a cell's final runs as soon as its search is done."""
        due = not cell.finals and cell.failure is None and cell.searched
        finals = cell.choose() if due else []
        self._files.changed(cell)
        if due:
            self._files.write(cell)
            self._say_choice(cell)
        for place, final in enumerate(finals):
            of = f"trial {final.trial} " if cell.several else ""
            self._want(final.spec, f"{cell.key} {of}final {final.index}", Consumer("final", cell, place))

    def _say_choice(self, cell: StudyCell) -> None:
        if cell.failure is not None:
            self._events.add("error", f"{cell.key}: {cell.failure}")
        for choice in cell.choices:
            if choice.value is not None:
                values = ", ".join(f"{value:.2f}" for value in choice.scores.values() or (choice.value,))
                self._events.add("info", f"{cell.key}: trial {choice.trial} chosen, {choice.rule}: {values}")
