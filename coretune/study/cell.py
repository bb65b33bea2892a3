"""One cell while a study runs: its trials, its choice, its final runs. Pure bookkeeping: no Ray, no clock."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna

from coretune.results.cellfile import CellFile, Choice, FinalEntry, TrialEntry, TrialState
from coretune.results.record import Record
from coretune.results.selection import best_trial
from coretune.spec.run import EvalSpec, RunSpec
from coretune.spec.study import SearchOptions
from coretune.study.optuna_cell import OptunaCell
from coretune.study.resolved import ResolvedCell, ResolvedStudy


@dataclass
class Trial:
    """One configuration while its runs are under way."""

    number: int
    params: dict[str, Any]
    runs: tuple[RunSpec, ...]
    values: dict[int, float] = field(default_factory=dict)
    intermediate: dict[int, float] = field(default_factory=dict)
    state: TrialState = "running"
    value: float | None = None


@dataclass
class Final:
    """One final run: its score on the test part once it is there, and whether it failed."""

    index: int
    spec: RunSpec
    score: float | None = None
    failed: bool = False


class StudyCell:
    """The search and the final runs of one cell.

    Args:
        study: The study it belongs to.
        resolved: The cell.
        storage: Optuna's storage.
        saved: Trials of an earlier session by number, perhaps still running, which this study would run the same way.
            Those beyond a smaller budget stay in the cell's file.

    Attributes:
        budget: How many trials the search has; 0 for `search: none`, and for a method with nothing to search.
        trials: In order of their numbers.
        finals: Empty until the search is done.
        choice: The configuration of the final runs, once the search is done.
    """

    def __init__(
        self,
        study: ResolvedStudy,
        resolved: ResolvedCell,
        storage: optuna.storages.BaseStorage,
        saved: tuple[TrialEntry, ...] = (),
    ) -> None:
        self.resolved = resolved
        self.key = resolved.cell.key
        self.trials: list[Trial] = []
        self.finals: list[Final] = []
        self.choice: Choice | None = None
        self.failure: str | None = None
        self._entries: dict[int, TrialEntry] = {}
        self._beyond: tuple[TrialEntry, ...] = ()
        self._study = study
        self._settings = study.loaded.study
        self._optuna: OptunaCell | None = None
        search = self._settings.search
        method = resolved.cell.method
        if isinstance(search, SearchOptions) and method.space:  # without a space there is nothing to search
            self._optuna = OptunaCell(
                self.key,
                method.space,
                method.defaults,
                search,
                direction=self._settings.direction,
                study_seed=self._settings.seed,
                epochs=self._run_spec({}, 0).train.epochs,
                storage=storage,
            )
        self.budget = 0 if self._optuna is None else self._optuna.budget
        self._restore(saved)

    @property
    def can_propose(self) -> bool:
        """Whether the search has a trial left to propose."""
        return self.failure is None and len(self.trials) < self.budget

    @property
    def searched(self) -> bool:
        """Whether all trials are settled."""
        return len(self.trials) >= self.budget and all(trial.state != "running" for trial in self.trials)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        if self.failure is not None:
            return True
        return bool(self.finals) and all(final.score is not None or final.failed for final in self.finals)

    def propose(self) -> Trial:
        """Asks for the next configuration."""
        if self._optuna is None:
            raise RuntimeError(f"cell {self.key} has no search")
        number = len(self.trials)
        params = self._optuna.ask(number)
        trial = Trial(number, params, self._study.trial_specs(self.resolved, params))
        self.trials.append(trial)
        return trial

    def report(self, number: int, value: float, step: int) -> bool:
        """Notes an intermediate value of a trial; returns whether the pruner gives it up."""
        trial = self.trials[number]
        if self._optuna is None or trial.state != "running" or step in trial.intermediate:
            return False
        trial.intermediate[step] = value
        self._entries.pop(number, None)
        return self._optuna.report(number, value, step)

    def deliver(self, number: int, repeat: int, record: Record) -> bool:
        """Takes the record of one of a trial's runs; returns whether the trial is settled by it."""
        trial = self.trials[number]
        if trial.state != "running":
            return True
        if record.status != "completed":
            self._settle(trial, "pruned" if record.status == "pruned" else "failed", None)
            return True
        trial.values[repeat] = self.score(record)
        self._entries.pop(number, None)
        pruned = len(trial.runs) > 1 and self.report(number, trial.values[repeat], len(trial.values))
        if len(trial.values) == len(trial.runs):
            self._settle(trial, "completed", statistics.fmean(trial.values.values()))
        elif pruned:
            self._settle(trial, "pruned", None)
        return trial.state != "running"

    def score(self, record: Record) -> float:
        """Returns the objective of a completed run, on the validation part."""
        return record.metrics[self._settings.finals.weights][self._settings.objective.metric]

    def choose(self) -> list[Final]:
        """Chooses the configuration of the final runs, once the search is done, and returns these runs."""
        entry = best_trial([self.entry(trial.number) for trial in self.trials], self._settings.direction)
        if self._optuna is None:
            params = dict(self.resolved.cell.method.defaults)
            self.choice = Choice(trial=0, params=params, value=None, rule="defaults")
        elif entry is None:
            self.failure = f"none of {len(self.trials)} trials completed"
            return []
        else:
            rule = f"best validation {self._settings.objective.metric} of {len(self.trials)} trials"
            self.choice = Choice(trial=entry.number, params=entry.params, value=entry.value, rule=rule)
        specs = self._study.final_specs(self.resolved, self.choice.params)
        self.finals = [Final(index, spec) for index, spec in enumerate(specs)]
        return self.finals

    def take_final(self, index: int, record: Record, score: float | None) -> None:
        """Takes the record of a final run and its score on the test part."""
        final = self.finals[index]
        final.score = score if record.status == "completed" else None
        final.failed = final.score is None

    def evaluation(self) -> EvalSpec:
        """Returns the evaluation of the final runs that scores them."""
        return self._study.final_evaluation()

    def further_evaluations(self) -> tuple[EvalSpec, ...]:
        """Returns the evaluations of the final runs beside it."""
        return self._study.further_evaluations()

    def entry(self, number: int) -> TrialEntry:
        """Returns a trial as it lies on disk, made anew only after it has changed."""
        found = self._entries.get(number)
        if found is None:
            trial = self.trials[number]
            found = self._entries[number] = TrialEntry(
                number=number,
                params=trial.params,
                runs=tuple(spec.run_id for spec in trial.runs),
                values=tuple(trial.values[repeat] for repeat in sorted(trial.values)),
                value=trial.value,
                intermediate=trial.intermediate,
                state=trial.state,
                attrs=self._optuna.attrs(number) if self._optuna is not None else {},
            )
        return found

    def file(self) -> CellFile:
        """Returns what lies on disk."""
        cell = self.resolved.cell
        return CellFile(
            key=self.key,
            dataset=cell.dataset.label,
            method=cell.method.label,
            backbone=cell.backbone.label,
            metric=self._settings.objective.metric,
            direction=self._settings.direction,
            space={path: space.to_dict() for path, space in cell.method.space.items()},
            trials=(*(self.entry(trial.number) for trial in self.trials), *self._beyond),
            choice=self.choice,
            failure=self.failure,
            finals=tuple(FinalEntry(index=f.index, seed=f.spec.seed, run_id=f.spec.run_id) for f in self.finals),
            evaluation=self.evaluation().model_dump(mode="json", exclude_defaults=True),
            evaluations={
                label: spec.model_dump(mode="json", exclude_defaults=True)
                for label, spec in self._study.loaded.evaluations.items()
            },
        )

    def _restore(self, saved: tuple[TrialEntry, ...]) -> None:
        if self._optuna is None:
            return
        kept, self._beyond = saved[: self._optuna.budget], saved[self._optuna.budget :]
        self._optuna.restore(kept)
        for entry in kept:
            values = dict(enumerate(entry.values)) if entry.state == "completed" else {}
            self.trials.append(
                Trial(
                    entry.number,
                    dict(entry.params),
                    self._study.trial_specs(self.resolved, entry.params),
                    values,
                    dict(entry.intermediate),
                    entry.state,
                    entry.value,
                )
            )

    def _settle(self, trial: Trial, state: TrialState, value: float | None) -> None:
        trial.state, trial.value = state, value
        self._entries.pop(trial.number, None)
        if self._optuna is not None:
            self._optuna.tell(trial.number, state, value)

    def _run_spec(self, params: Mapping[str, Any], seed: int) -> RunSpec:
        return self._study.run_spec(self.resolved, params, seed)
