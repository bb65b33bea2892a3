"""The test scores of a cell's final runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from coretune.report.reader import Reader
from coretune.results.cellfile import CellFile, FinalEntry, TrialState
from coretune.spec.domains import SELECTION_RULES
from coretune.spec.run import EvalSpec
from coretune.spec.selection_rule import found_on, in_words, oracle_in_words

ORACLE = f"{SELECTION_RULES['oracle']}: "
"""What a rule and a mark begin with that both say that the held-out domain itself chose."""

State = Literal["scored", "failed", "not evaluated", "unfinished"]
Seed = tuple[int, int]
"""A final run's index and seed. Runs of two cells are a pair if both are equal."""


@dataclass(frozen=True)
class Final:
    """One final run and its test score, if it has one."""

    index: int
    seed: int
    run_id: str
    state: State
    score: float | None = None


@dataclass(frozen=True)
class Scores:
    """A cell and its final runs, by index.

    Attributes:
        cell: The cell.
        finals: Its final runs so far.
        expected: How many final runs it will have.
        evaluation: What is evaluated, on the test part; None if the cell does not say, or says another part.
    """

    cell: CellFile
    finals: tuple[Final, ...]
    expected: int
    evaluation: EvalSpec | None

    def own_evaluations(self, run_id: str) -> frozenset[str]:
        """Returns the ids of the evaluations of a final run that score it: one for each objective."""
        specs = [final_evaluation(measure.evaluation) for measure in self.cell.objectives] or [self.evaluation]
        return frozenset(spec.eval_id(run_id) for spec in specs if spec is not None)

    @property
    def scored(self) -> list[Final]:
        """The final runs that have a score."""
        return [final for final in self.finals if final.score is not None]

    @property
    def by_seed(self) -> dict[Seed, float]:
        """Scores by index and seed."""
        return {(final.index, final.seed): final.score for final in self.finals if final.score is not None}

    @property
    def complete(self) -> bool:
        """Whether every final run has its score."""
        return self.expected > 0 and len(self.scored) == self.expected

    def count(self, state: State) -> int:
        """Returns how many final runs are in a state."""
        return sum(final.state == state for final in self.finals)

    def rule(self, weights: str | None = None) -> str:
        """Returns how configuration and weights were selected, in words, and what else has to stand beside a figure.

        Args:
            weights: Which ones are evaluated; None: those that the cell is scored with.
        """
        rule, marks = self.selection_rule(weights), held_out_marks(self.cell)
        if rule.startswith(ORACLE):
            marks = [mark.removeprefix(ORACLE) for mark in marks]
        return "; ".join([rule, *marks])

    def selection_rule(self, weights: str | None = None) -> str:
        """Returns how configuration and weights were selected, in words; the weights are as in `rule`."""
        if self.cell.choice is None:
            return "no configuration chosen yet"
        scored = self.evaluation.weights if self.evaluation is not None else None
        selection = self.cell.held_out.selection if self.cell.held_out is not None else None
        tested = "not evaluated on the test part"
        if (evaluated := weights or scored) is not None:
            tested = in_words(evaluated, found_on(selection, scored or "last"))
        rule = self.cell.choice.rule
        return rule if rule.endswith(tested) else f"{rule}; {tested}"

    def failure(self, trials: int | None = None) -> str | None:
        """Returns why the cell has no final runs and will have none; None where it has, or still may.

        Args:
            trials: How many trials its search has, if known.
        """
        if self.cell.failure is not None or self.cell.choice is not None:
            return self.cell.failure
        ended = Counter(trial.state for trial in self.cell.trials)
        done = sum(ended.values()) - ended["running"]
        over = trials is not None and done >= trials and not ended["completed"]
        return f"none of {done} trials completed" if over else None

    def status(self, trials: int | None = None) -> str:
        """Returns how far the cell is, in words.

        Args:
            trials: How many trials its search has, if known.
        """
        if (failure := self.failure(trials)) is not None:
            return f"failed: {failure}"
        if self.cell.choice is None:
            return _search_status(Counter(trial.state for trial in self.cell.trials), trials)
        text = f"{len(self.scored)} of {self.expected} final runs"
        for state in ("failed", "not evaluated"):
            if count := self.count(state):
                text += f"; {count} {state}"
        return text


def read_scores(reader: Reader, cell: CellFile, final_seeds: int = 0) -> Scores:
    """Reads the test scores of a cell's final runs.

    Args:
        reader: Where records and evaluations are.
        cell: The cell.
        final_seeds: How many final runs the study asks for; 0 where it is not known.
    """
    evaluation = final_evaluation(cell.evaluation)
    entries = sorted(cell.finals, key=lambda entry: entry.index)
    finals = tuple(_final(reader, entry, evaluation, cell.metric) for entry in entries)
    return Scores(cell, finals, max(len(finals), final_seeds), evaluation)


def final_evaluation(value: Mapping[str, Any]) -> EvalSpec | None:
    """Returns the evaluation of a cell's final runs, as its file has it; None if it is none on the test part."""
    try:
        spec = EvalSpec.model_validate(value)
    except ValidationError:  # empty until the finals are planned; anything else scores no run, and the status says so
        return None
    return spec if spec.split == "test" else None


def further_evaluations(cell: CellFile) -> dict[str, EvalSpec]:
    """Returns the further evaluations of a cell's final runs, by label; those that cannot be read are left out."""
    found: dict[str, EvalSpec] = {}
    for label, value in cell.evaluations.items():
        with suppress(ValidationError):
            found[label] = EvalSpec.model_validate(value)
    return found


def shared_seeds(groups: Iterable[Scores]) -> list[Seed]:
    """Returns the seeds that all cells have a score for, in order."""
    found = [set(scores.by_seed) for scores in groups]
    return sorted(set.intersection(*found)) if found else []


def partner(scores: Scores, table: Sequence[Scores], baseline: str | None) -> Scores | None:
    """Returns the baseline's cell on the same data set and backbone; None for the baseline itself."""
    cell = scores.cell
    if cell.method == baseline:
        return None
    place = (cell.dataset, cell.backbone, baseline)
    return next((one for one in table if (one.cell.dataset, one.cell.backbone, one.cell.method) == place), None)


def held_out_marks(cell: CellFile) -> list[str]:
    """Returns what has to stand beside every figure of a cell with a held-out domain; nothing for the usual."""
    held_out = cell.held_out
    if held_out is None:
        return []
    said = {
        "80 % of the held-out domain, as DomainBed": held_out.part == "domainbed_80",
        "transductive: the backbone has seen the held-out domain": bool(held_out.seen),
        oracle_in_words(held_out.looks): held_out.looks > 0,
    }
    return [mark for mark, stands in said.items() if stands]


def _search_status(ended: Counter[TrialState], trials: int | None) -> str:
    done = sum(ended.values()) - ended["running"]
    text = f"searching: {done}{f' of {trials}' if trials is not None else ''} trials"
    return text + "".join(f"; {ended[state]} {state}" for state in ("pruned", "failed") if ended[state])


def _final(reader: Reader, entry: FinalEntry, evaluation: EvalSpec | None, metric: str) -> Final:
    state, score = _score(reader, entry.run_id, evaluation, metric)
    return Final(entry.index, entry.seed, entry.run_id, state, score)


def _score(reader: Reader, run_id: str, evaluation: EvalSpec | None, metric: str) -> tuple[State, float | None]:
    run = reader.run(run_id)
    if run is None:
        return "unfinished", None
    if run.status != "completed":
        return "failed", None
    metrics = reader.metrics(run_id, evaluation.eval_id(run_id)) if evaluation is not None else None
    if metrics is None or metric not in metrics:
        return "not evaluated", None
    return "scored", metrics[metric]
