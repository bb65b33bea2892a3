"""Evaluations of a run that is being executed: of its model in memory, or of the one that it left on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from coretune.data.dataset import Dataset
from coretune.errors import StorageError
from coretune.nets.model import Model
from coretune.results.files import set_aside
from coretune.results.record import Cause, Record
from coretune.results.retry import needed_weights
from coretune.results.store import ResultsStore
from coretune.runs.evaluate import evaluate_model
from coretune.runs.job import Job
from coretune.runs.peers import Peers
from coretune.runs.trained import load_model
from coretune.spec.components import Catalog
from coretune.spec.run import EvalSpec
from coretune.tuning.context import Context

Note = Callable[[str], None]


class Judge:
    """Makes a job's evaluations, together with the other workers of the run.

    Args:
        job: The run.
        store: Where its folder lies.
        catalog: What its names mean.
        peers: The workers.
        agreed: Returns the cause that all of them agree on once one has failed in a part of the run.

    Attributes:
        failed: Evaluations that failed while the run did not, by id.
        seconds: What evaluations have taken so far.
    """

    def __init__(
        self,
        job: Job,
        store: ResultsStore,
        catalog: Catalog,
        peers: Peers,
        agreed: Callable[[Exception, str], Cause],
    ) -> None:
        self.failed: dict[str, Cause] = {}
        self.seconds = 0.0
        self._job = job
        self._run_id = job.spec.run_id
        self._store = store
        self._catalog = catalog
        self._peers = peers
        self._agreed = agreed

    def lacking(self, note: Note) -> tuple[Record | None, list[EvalSpec]]:
        """Returns the record and what has yet to be evaluated; no record if the run has to be trained."""
        record = self._store.record(self._run_id)
        if record is None or record.status != "completed":
            return None, []
        missing = self._store.lacking(self._run_id, self._job.all_evaluations)
        if not self._store.has_weights(self._run_id, needed_weights(missing, keep=self._job.keep_weights)):
            note("trained again: it was recorded, but its weights, which are needed now, were not kept")
            return None, []
        return record, missing

    def trained_model(self, spec: EvalSpec, dataset: Dataset[Any], context: Context, note: Note) -> Model | None:
        """Returns the recorded run's model; None if its weights are damaged, which the first worker decides."""
        model, damage = None, None
        if self._peers.first:
            try:
                model = self._load(spec, dataset, context)
            except StorageError as error:
                aside = set_aside(self._store.weights_path(self._run_id, spec.weights))
                damage = f"trained again: {error}; set aside as {aside.name}"
        damage = self._peers.share(damage)
        if damage is not None:
            note(damage)
            return None
        return model or self._load(spec, dataset, context)

    def evaluate(self, model: Model, dataset: Dataset[Any], spec: EvalSpec, context: Context) -> None:
        """Makes one of the job's evaluations; a further one that fails is noted, and the run goes on."""
        self._peers.check()
        clock = time.perf_counter()
        eval_id = spec.eval_id(self._run_id)
        self.failed.pop(eval_id, None)
        try:
            evaluate_model(model, dataset, self._job, spec, self._store, self._catalog, context)
            self._peers.check()
        except Exception as error:  # an evaluation may be anybody's code, as a method may
            if spec in self._job.evaluations:
                raise
            self.failed[eval_id] = self._agreed(error, eval_id)
        self.seconds += time.perf_counter() - clock

    def with_failures(self, record: Record) -> Record:
        """Returns a recorded run's record with what became of the evaluations that it lacked, written if it changed."""
        tried = {spec.eval_id(self._run_id) for spec in self._job.all_evaluations}
        others = {key: cause for key, cause in record.failed_evaluations.items() if key not in tried}
        failed = others | self.failed
        if failed != record.failed_evaluations:
            record = record.replace(failed_evaluations=failed)
            if self._peers.first:
                self._store.put_record(record)
        return record

    def _load(self, spec: EvalSpec, dataset: Dataset[Any], context: Context) -> Model:
        return load_model(self._job, spec.weights, dataset, self._store, self._catalog, context)
