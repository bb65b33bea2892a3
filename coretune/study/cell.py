"""One cell while a study runs: its trials, its choice, its final runs. Pure bookkeeping: no Ray, no clock."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import optuna

from coretune.results.cellfile import (
    CellFile,
    Choice,
    FinalEntry,
    HeldOutDomain,
    Measure,
    TrialEntry,
    TrialState,
)
from coretune.results.front import choose_on_front, roles_of
from coretune.results.record import Record
from coretune.results.selection import best_trial, tie_breaker
from coretune.spec.domains import LEAVE_ONE_OUT, SELECTION_RULES
from coretune.spec.run import EvalSpec, RunSpec
from coretune.spec.study import SearchOptions
from coretune.study.optuna_cell import OptunaCell
from coretune.study.resolved import ResolvedCell, ResolvedStudy
from coretune.study.trials import Final, Trial, looks


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
        choices: The configurations of the final runs, once the search is done: one, or of two objectives up to three.
        runs_per_trial: Runs of a configuration: repeats, times the domains that it is validated on.
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
        self.choices: tuple[Choice, ...] = ()
        self.failure: str | None = None
        self._entries: dict[int, TrialEntry] = {}
        self._beyond: tuple[TrialEntry, ...] = ()
        self._study = study
        self._settings = study.loaded.study
        self._objective = self._settings.objective
        self._optuna: OptunaCell | None = None
        self.runs_per_trial = len(study.trial_runs(resolved))
        search = self._settings.search
        method = resolved.cell.method
        if isinstance(search, SearchOptions) and method.space:  # without a space there is nothing to search
            self._optuna = OptunaCell(
                self.key,
                method.space,
                method.defaults,
                search.replace(repeats=self.runs_per_trial),  # runs of a trial, of whatever kind
                directions=self._objective.directions,
                study_seed=self._settings.seed,
                epochs=self._run_spec({}, 0).train.epochs,
                storage=storage,
            )
        self.budget = 0 if self._optuna is None else self._optuna.budget
        self._restore(saved)

    @property
    def choice(self) -> Choice | None:
        """The configuration of the final runs; of several the first."""
        return self.choices[0] if self.choices else None

    @property
    def several(self) -> bool:
        """Whether it has two objectives."""
        return len(self._objective.metrics) > 1

    @property
    def final_runs(self) -> int:
        """How many final runs there are; until the search is done, how many there will be at most."""
        return len(self.finals) or self._study.most_choices(self.budget) * self._settings.finals.seeds

    @property
    def test_scores(self) -> list[float]:
        """Test scores of the first choice's final runs, so far."""
        first = None if self.choice is None else self.choice.trial
        return [final.score for final in self.finals if final.score is not None and final.trial == first]

    @property
    def can_propose(self) -> bool:
        """Whether the search has a trial left to propose."""
        return self.failure is None and len(self.trials) < self.budget

    @property
    def searched(self) -> bool:
        """Whether all trials are settled."""
        return len(self.trials) >= self.budget and all(trial.state != "running" for trial in self.trials)

    @property
    def looks(self) -> int:
        """How many evaluations on the held-out domain an oracle had to choose from, so far; 0 without one."""
        return looks(self._settings, self.trials, self.finals)

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
        """Notes an intermediate value of a trial; returns whether the pruner gives it up. Of two objectives none is."""
        trial = self.trials[number]
        if self._optuna is None or self.several or trial.state != "running" or step in trial.intermediate:
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
            self._settle(trial, "pruned" if record.status == "pruned" else "failed")
            return True
        trial.values[repeat] = self.scores(record)
        if self.resolved.cell.dataset.held_out_domain is not None:
            trial.losses[repeat] = tie_breaker(record, self._settings.finals.judged_by)
        self._entries.pop(number, None)
        pruned = len(trial.runs) > 1 and self.report(number, trial.values[repeat][0], len(trial.values))
        if len(trial.values) == len(trial.runs):
            columns = zip(*trial.values.values(), strict=True)
            self._settle(trial, "completed", tuple(map(statistics.fmean, columns)))
        elif pruned:
            self._settle(trial, "pruned")
        return trial.state != "running"

    def scores(self, record: Record) -> tuple[float, ...]:
        """Returns the objectives of a completed run, on the validation part."""
        found = record.metrics[self._settings.finals.judged_by]
        return tuple(found[metric] for metric in self._objective.metrics)

    def choose(self) -> list[Final]:
        """Chooses the configurations of the final runs, once the search is done, and returns these runs."""
        self.choices = self._chosen()
        if not self.choices:
            self.failure = f"none of {len(self.trials)} trials completed"
        self.finals = [
            Final(index, spec, choice.trial)
            for choice in self.choices
            for index, spec in enumerate(self._study.final_specs(self.resolved, choice.params))
        ]
        return self.finals

    def take_final(self, place: int, record: Record, score: float | None) -> None:
        """Takes the record of a final run, by its place in `finals`, and its score on the test part."""
        final = self.finals[place]
        final.score = score if record.status == "completed" else None
        final.failed = final.score is None

    def evaluations(self) -> tuple[EvalSpec, ...]:
        """Returns the evaluations of the final runs that score them."""
        return self._study.final_evaluations()

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
                values=tuple(trial.values[repeat][0] for repeat in sorted(trial.values)),
                value=trial.value,
                scores=dict(zip(self._objective.metrics, trial.means, strict=False)) if self.several else {},
                loss=trial.loss,
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
            metric=self._objective.metrics[0],
            direction=self._settings.direction,
            space={path: space.to_dict() for path, space in cell.method.space.items()},
            trials=(*(self.entry(trial.number) for trial in self.trials), *self._beyond),
            choice=self.choice,
            objectives=self._measures() if self.several else (),
            choices=self.choices if self.several else (),
            failure=self.failure,
            finals=tuple(self._final_entry(final) for final in self.finals),
            held_out=self._held_out(),
            evaluation=_plain(self.evaluations()[0]),
            evaluations={label: _plain(spec) for label, spec in self._study.loaded.evaluations.items()},
        )

    def _chosen(self) -> tuple[Choice, ...]:
        metrics, directions = self._objective.metrics, self._objective.directions
        if self._optuna is None:
            params = dict(self.resolved.cell.method.defaults)
            return (Choice(trial=0, params=params, value=None, rule="defaults", roles=roles_of(metrics)),)
        entries = [self.entry(trial.number) for trial in self.trials]
        if self.several:
            return self._by_its_rule(choose_on_front(entries, metrics, directions))
        entry = best_trial(entries, directions[0])
        if entry is None:
            return ()
        return (Choice(trial=entry.number, params=entry.params, value=entry.value, rule=self._rule()),)

    def _measures(self) -> tuple[Measure, ...]:
        return tuple(
            Measure(metric=metric, direction=direction, evaluation=_plain(self._study.evaluation_of(metric)))
            for metric, direction in zip(self._objective.metrics, self._objective.directions, strict=True)
        )

    def _final_entry(self, final: Final) -> FinalEntry:
        trial = final.trial if self.several else None
        return FinalEntry(index=final.index, seed=final.spec.seed, run_id=final.spec.run_id, trial=trial)

    def _restore(self, saved: tuple[TrialEntry, ...]) -> None:
        if self._optuna is None:
            return
        kept, self._beyond = saved[: self._optuna.budget], saved[self._optuna.budget :]
        self._optuna.restore(kept)
        for entry in kept:
            done = entry.state == "completed"
            means = () if entry.value is None or not done else tuple(entry.scores.values()) or (entry.value,)
            values: dict[int, tuple[float, ...]] = (
                {repeat: (value,) for repeat, value in enumerate(entry.values)} if done else {}
            )
            self.trials.append(
                Trial(
                    entry.number,
                    dict(entry.params),
                    self._study.trial_specs(self.resolved, entry.params),
                    values,
                    dict(entry.intermediate),
                    entry.state,
                    means,
                    loss=entry.loss,
                )
            )

    def _settle(self, trial: Trial, state: TrialState, means: tuple[float, ...] = ()) -> None:
        trial.state, trial.means = state, means
        if state == "completed" and trial.losses:
            trial.loss = statistics.fmean(trial.losses.values())
        self._entries.pop(trial.number, None)
        if self._optuna is not None:
            self._optuna.tell(trial.number, state, *means)

    def _rule(self) -> str:
        """Returns how the configuration is chosen, in words."""
        metric, trials, selection = self._objective.metrics[0], len(self.trials), self._settings.selection
        if self.resolved.cell.dataset.held_out_domain is None:
            return f"best validation {metric} of {trials} trials"
        over = f"mean {metric} over source domains" if selection == LEAVE_ONE_OUT else metric
        return f"{SELECTION_RULES[selection]}: best {over} of {trials} trials, ties by lower loss"

    def _by_its_rule(self, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """Returns several choices with the selection rule before each one's own, where a domain is held out."""
        if self.resolved.cell.dataset.held_out_domain is None:
            return choices
        said = SELECTION_RULES[self._settings.selection]
        return tuple(choice.replace(rule=f"{said}: {choice.rule}") for choice in choices)

    def _held_out(self) -> HeldOutDomain | None:
        dataset = self.resolved.cell.dataset
        if dataset.held_out_domain is None:
            return None
        return HeldOutDomain(
            section=dataset.section,
            domain=dataset.held_out_domain,
            part=dataset.held_out_part,
            seen=self.resolved.sight.seen,
            unknown=self.resolved.sight.unknown,
            repeated=self.resolved.domains.repeated,
            selection=self._settings.selection,
            looks=self.looks,
        )

    def _run_spec(self, params: Mapping[str, Any], seed: int) -> RunSpec:
        return self._study.run_spec(self.resolved, params, seed)


def _plain(spec: EvalSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_defaults=True)
