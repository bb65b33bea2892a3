"""What an execution writes into its run's folder. Of several workers of one run, the first alone does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from coretune.results.files import append_line, put_atomic, set_aside
from coretune.results.record import Record
from coretune.results.store import ResultsStore
from coretune.results.times import now_iso
from coretune.runs.state import RunState, load_state, save_state
from coretune.spec.run import RunSpec
from coretune.tuning.loop import EpochReport, Training


class RunFolder:
    """The folder of a run.

    Args:
        store: The results directory.
        run_id: The run.
        writes: Whether it is written at all.

    Raises (from what writes):
        StorageError: The disk is full or read-only.
    """

    def __init__(self, store: ResultsStore, run_id: str, *, writes: bool) -> None:
        self._store = store
        self._run_id = run_id
        self._path = store.run_folder(run_id)
        self._writes = writes

    def describe(self, spec: RunSpec) -> None:
        """Writes what the run is, beside what its last execution left."""
        if self._writes:
            self._store.fetch_run(self._run_id)
            put_atomic(self._path / "run.json", (spec.to_json() + "\n").encode(), durable=False)

    def log(self, text: str) -> None:
        """Adds a line to the run's log."""
        if self._writes:
            append_line(self._path / "log.txt", f"{now_iso()} {text}")

    def put_reports(self, history: Iterable[EpochReport]) -> None:
        """Begins the file of reports anew, with those that a training goes on from: none stands in it twice."""
        if self._writes:
            put_atomic(self._path / "metrics-0.jsonl", "".join(_line(report) for report in history).encode())

    def add_report(self, report: EpochReport) -> None:
        """Adds a report."""
        if self._writes:
            append_line(self._path / "metrics-0.jsonl", _line(report).rstrip())

    def save_state(self, state: RunState) -> None:
        """Stores the state that another execution goes on from."""
        if self._writes:
            save_state(self._store.state_folder(self._run_id), self._run_id, state)
            self._store.keep_state(self._run_id)

    def load_state(self) -> RunState | None:
        """Returns the stored state, or None.

        Raises:
            ValueError: It is damaged.
        """
        return load_state(self._store.state_folder(self._run_id), self._run_id)

    def set_state_aside(self) -> str:
        """Renames a state that is of no use, and returns its new name."""
        return set_aside(self._store.state_folder(self._run_id)).name if self._writes else "another name"

    def settle(self, record: Record, *, keep_state: bool) -> None:
        """Writes the record, after which the run counts as finished."""
        if not self._writes:
            return
        self._store.put_record(record)
        if not keep_state:
            self._store.drop_state(self._run_id)


def with_training(record: Record, training: Training, evaluate_s: float) -> Record:
    """Returns a record with what a training says of itself.

    Args:
        record: Of the run.
        training: Perhaps a broken-off one.
        evaluate_s: Seconds of evaluations beside its own.
    """
    metrics: dict[str, dict[str, float]] = {}
    timings, notes = dict(record.timings), list(record.notes)
    if training.history:
        last = training.history[-1]
        metrics = {"last": dict(last.metrics), "train": finite(last.train)}
        timings |= {"train_s": last.seconds, "evaluate_s": last.evaluate_s + evaluate_s}
        timings["images_per_s"] = last.images / max(last.seconds, 1e-9)
        notes += training.notes
        notes += [f"the mean of {name} is not finite" for name in last.train if name not in metrics["train"]]
    if training.best is not None:
        metrics["best"] = {**training.best.metrics, "epoch": float(training.best.epoch)}
    found = {name: values for name, values in metrics.items() if values}
    return record.replace(metrics=found, timings=timings, notes=tuple(notes))


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Returns what JSON can hold: a method's term may be undefined while its loss is not."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _line(report: EpochReport) -> str:
    line = {
        "epoch": report.epoch,
        **report.metrics,
        "train": finite(report.train),
        "seconds": round(report.seconds, 3),
    }
    return json.dumps(line, allow_nan=False) + "\n"
