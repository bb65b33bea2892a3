"""Reads a store's records and evaluations, each settled one only once, down to what the tables need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coretune.results.cellfile import CellFile
from coretune.results.record import Cause, Evaluation, Record, Status
from coretune.results.store import ResultsStore


@dataclass(frozen=True)
class Run:
    """A recorded run as the tables see it.

    Attributes:
        run_id: Its id.
        task: `classification` or `pretraining`.
        status: As recorded.
        cause: Why it failed.
        fields: The canonical RunSpec, flattened to study paths: `method.eta`, `train.lr`, `data.dataset`.
        metrics: Metrics on the validation part, flattened: `last.top1`, `best.top1`, `best.epoch`.
        seconds: From start to end, or None if the record does not say.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC.
        host: Where it ran, or empty if the record does not say.
    """

    run_id: str
    task: str
    status: Status
    cause: Cause | None
    fields: Mapping[str, Any]
    metrics: Mapping[str, float]
    seconds: float | None
    started: str
    finished: str
    host: str

    @property
    def settled(self) -> bool:
        """Whether the record is there to stay."""
        return self.status != "failed"


class Reader:
    """Reads one store. A settled record and an evaluation never change, so that they are read once.

    Attributes:
        store: The store.
    """

    def __init__(self, store: ResultsStore) -> None:
        self.store = store
        self._warned = len(store.warnings)
        self._runs: dict[str, Run] = {}
        self._evaluations: dict[tuple[str, str], Evaluation] = {}

    @property
    def warnings(self) -> list[str]:
        """What could not be read since this reader began, each once."""
        return list(dict.fromkeys(self.store.warnings[self._warned :]))

    def cells(self) -> list[CellFile]:
        """Returns all readable cells as they are now, by key."""
        return list(self.store.cells())

    def run(self, run_id: str) -> Run | None:
        """Returns a run, or None if it has no readable record."""
        known = self._runs.get(run_id)
        if known is not None:
            return known
        record = self.store.record(run_id)
        if record is None:
            return None
        found = _run(record)
        if found.settled:
            self._runs[run_id] = found
        return found

    def runs(self) -> list[Run]:
        """Returns all runs that have a readable record, by id."""
        return [run for run_id in self.store.run_ids() if (run := self.run(run_id)) is not None]

    def metrics(self, run_id: str, eval_id: str) -> Mapping[str, float] | None:
        """Returns the metrics of an evaluation, or None if there is none."""
        evaluation = self.evaluation(run_id, eval_id)
        return evaluation.metrics if evaluation is not None else None

    def evaluation(self, run_id: str, eval_id: str) -> Evaluation | None:
        """Returns an evaluation, or None if there is none."""
        key = (run_id, eval_id)
        known = self._evaluations.get(key)
        if known is not None:
            return known
        found = self.store.evaluation(run_id, eval_id)
        if found is not None:
            self._evaluations[key] = found
        return found

    def evaluations(self, run_id: str) -> list[Evaluation]:
        """Returns all readable evaluations of a run, by id."""
        found = (self.evaluation(run_id, eval_id) for eval_id in self.store.evaluation_ids(run_id))
        return [evaluation for evaluation in found if evaluation is not None]


def flatten_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a RunSpec's values by the paths that a study uses.

    A component (`{"name": "ce", "version": 1, "params": {"eta": 0.1}}` at `method`) becomes `method: ce`,
    `method.version: 1` and `method.eta: 0.1`.
    """
    flat: dict[str, Any] = {}
    _flatten("", spec, flat)
    return flat


def _flatten(prefix: str, value: Mapping[str, Any], flat: dict[str, Any]) -> None:
    for key, item in value.items():
        path = prefix + key
        if not isinstance(item, dict):
            flat[path] = item
        elif "name" in item and "version" in item:
            flat[path] = item["name"]
            flat[path + ".version"] = item["version"]
            _flatten(path + ".", item.get("params", {}), flat)
        else:
            _flatten(path + ".", item, flat)


def _run(record: Record) -> Run:
    fields = flatten_spec(record.spec)
    return Run(
        run_id=record.run_id,
        task=str(fields.get("task", "classification")),
        status=record.status,
        cause=record.cause,
        fields=fields,
        metrics={f"{which}.{name}": value for which, found in record.metrics.items() for name, value in found.items()},
        seconds=_seconds(record),
        started=record.started,
        finished=record.finished,
        host=str(record.environment.get("hostname", "")),
    )


def _seconds(record: Record) -> float | None:
    total = record.timings.get("total_s")
    if total is not None:
        return total
    try:
        return (datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)).total_seconds()
    except (ValueError, TypeError):  # a time that is no time, or one of two without a zone
        return None
