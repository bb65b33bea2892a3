"""What earlier sessions left of a cell's search: checked against the records, or made again from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from coretune.results.cellfile import CellFile, TrialEntry
from coretune.results.rebuild import rebuild_trials
from coretune.results.record import Record
from coretune.results.retry import should_train
from coretune.results.selection import tie_breaker
from coretune.results.store import ResultsStore
from coretune.spec.run import judging_epoch
from coretune.spec.study import SearchOptions
from coretune.study.events import EventLog
from coretune.study.optuna_cell import LEARNING_SAMPLERS, first_trials
from coretune.study.resolved import ResolvedCell, ResolvedStudy


class SavedSearch:
    """Reads the saved trials of a cell.

    Values and what the pruner saw come from the runs' own files, so that they are of this study's objective, whatever
    objective the trials were once proposed for.

    Args:
        study: What is asked for.
        store: Where records lie.
        events: Told what of an earlier session is not used.
        retry_failed: Also train again what failed for a reason of its own.
    """

    def __init__(self, study: ResolvedStudy, store: ResultsStore, events: EventLog, *, retry_failed: bool) -> None:
        self._study = study
        self._settings = study.loaded.study
        self._store = store
        self._events = events
        self._retry_failed = retry_failed

    def trials(self, cell: ResolvedCell) -> tuple[TrialEntry, ...]:
        """Returns a cell's trials of earlier sessions; those whose records are lost, or are to be tried again, run."""
        if not isinstance(self._settings.search, SearchOptions):
            return ()
        saved = self._store.cell(cell.cell.key)
        if saved is None:
            return self._rebuilt(cell, self._settings.search)
        if (misfit := self._misfit(saved, cell)) is not None:
            saved = self._exchange(cell, misfit)
            if saved is None:
                return ()
        attrs = self._is_ours(saved)
        ties = cell.cell.dataset.held_out_domain is not None
        return tuple(self._refreshed(entry if attrs else entry.replace(attrs={}), ties) for entry in saved.trials)

    def _exchange(self, cell: ResolvedCell, misfit: str) -> CellFile | None:
        """Sets a search of another study aside, and returns the one of this study that was set aside before, if any."""
        key = cell.cell.key
        aside = self._store.set_cell_aside(key)
        for path, earlier in self._store.earlier_cells(key):
            if path != aside and self._misfit(earlier, cell) is None:
                self._store.reinstate_cell(path)
                self._events.add(
                    "info", f"{key}: {misfit}; kept as {aside.name}, and the search of {path.name} goes on"
                )
                return earlier
        self._events.add("warning", f"{key}: {misfit}; kept as {aside.name}, searched anew")
        return None

    def record(self, run_id: str) -> Record | None:
        """Returns a run's record, or None if there is none, or one without the score that it should have."""
        record = self._store.record(run_id)
        if record is None or record.status != "completed" or record.spec.get("task") == "pretraining":
            return record
        found, epoch = self._scores(record), self._settings.finals.judged_by
        if absent := [metric for metric in self._settings.objective.metrics if metric not in found]:
            self._store.reject_record(run_id, f"it has no {absent[0]} of the {epoch} epoch")
            return None
        return record

    def _scores(self, record: Record) -> dict[str, float]:
        """Returns the objectives of a run, as far as it has them."""
        found = record.metrics.get(self._settings.finals.judged_by, {})
        return {metric: found[metric] for metric in self._settings.objective.metrics if metric in found}

    def _score(self, record: Record) -> float | None:
        """Returns the objective of a run, of two the first; None unless it has all of them."""
        found, metrics = self._scores(record), self._settings.objective.metrics
        return found[metrics[0]] if len(found) == len(metrics) else None

    def _is_ours(self, saved: CellFile) -> bool:
        """Whether the pruner's and the sampler's notes were made of this study's objective."""
        objective, epoch = self._settings.objective, judging_epoch(saved.evaluation.get("weights", "last"))
        searched = [(measure.metric, measure.direction) for measure in saved.objectives]
        ours = list(zip(objective.metrics, objective.directions, strict=True))
        return (searched or [(saved.metric, saved.direction)]) == ours and epoch == self._settings.finals.judged_by

    def _misfit(self, saved: CellFile, cell: ResolvedCell) -> str | None:
        """Returns why a saved search is none of this study, or None."""
        if [entry.number for entry in saved.trials] != list(range(len(saved.trials))):
            return "its saved search is damaged, a trial is missing"
        space = cell.cell.method.space
        if saved.space != {path: item.to_dict() for path, item in space.items()}:
            return "its saved search was over another space"
        for entry in saved.trials:
            if set(entry.params) != set(space) or self._runs(cell, entry.params) != entry.runs:
                return "its saved search was of other runs (another recipe, data, backbone, or version)"
        return None

    def _runs(self, cell: ResolvedCell, params: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(spec.run_id for spec in self._study.trial_specs(cell, params))

    def _rebuilt(self, cell: ResolvedCell, search: SearchOptions) -> tuple[TrialEntry, ...]:
        """Returns the recorded trials of a sampler that learns from them; others propose the same ones again."""
        if search.sampler not in LEARNING_SAMPLERS:
            return ()
        found = rebuild_trials(
            self._store.records(),
            cell.cell,
            self._study.loaded.catalog,
            specs_of=lambda params: self._study.trial_specs(cell, params),
            score=self._score,
        )
        if not found:
            return ()
        by_params = {json.dumps(entry.params, sort_keys=True): entry for entry in found}
        first = []
        for params in first_trials(cell.cell.method.space, cell.cell.method.defaults):
            absent = TrialEntry(number=0, params=params, runs=self._runs(cell, params))
            first.append(by_params.pop(json.dumps(params, sort_keys=True), absent))
        ordered = [*first, *by_params.values()]
        ties = cell.cell.dataset.held_out_domain is not None
        return tuple(self._refreshed(entry.replace(number=number), ties) for number, entry in enumerate(ordered))

    def _refreshed(self, entry: TrialEntry, ties: bool) -> TrialEntry:
        """Returns a saved trial as its records and reports say; with the loss that decides between equal ones."""
        records = [self.record(run_id) for run_id in entry.runs]
        found = [record for record in records if record is not None]
        entry = entry.replace(intermediate=self._intermediate(entry, records))
        if entry.state == "running":
            return entry
        again = any(should_train(record, retry_failed=self._retry_failed) for record in found)
        # A trial that was given up or failed may have ended before its last repeats were run.
        lost = len(found) < (len(records) if entry.state == "completed" else 1)
        if again or lost:
            return entry.replace(state="running", value=None, values=(), scores={}, loss=None)
        if entry.state != "completed":
            return entry
        metrics, scores = self._settings.objective.metrics, [self._scores(record) for record in found]
        means = {metric: fmean(each[metric] for each in scores) for metric in metrics}
        losses = [tie_breaker(record, self._settings.finals.judged_by) for record in found] if ties else []
        return entry.replace(
            values=tuple(each[metrics[0]] for each in scores),
            value=means[metrics[0]],
            scores=means if len(metrics) > 1 else {},
            loss=fmean(losses) if losses else None,
        )

    def _intermediate(self, entry: TrialEntry, records: Sequence[Record | None]) -> dict[int, float]:
        """Returns what the pruner sees of a trial: the epochs of its one run, or the scores of its repeats."""
        if len(self._settings.objective.metrics) > 1:
            return {}
        if len(records) == 1:
            metric = self._settings.objective.metrics[0]
            reports = self._store.epochs(entry.runs[0])
            return {epoch: metrics[metric] for epoch, metrics in reports.items() if metric in metrics}
        scores = [self._score(record) for record in records if record is not None and record.status == "completed"]
        return {number: score for number, score in enumerate(scores, 1) if score is not None}
