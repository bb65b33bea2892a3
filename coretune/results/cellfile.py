"""The search of one cell as it lies on disk: `cells/<cell>/search.json`."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from coretune.spec.domains import HeldOutPart, SelectionRule
from coretune.spec.frozen import Frozen

TrialState = Literal["running", "completed", "pruned", "failed"]


class TrialEntry(Frozen):
    """One configuration that the search proposed."""

    number: int = Field(ge=0)
    params: dict[str, Any] = Field(description="Values by path, e.g. train.lr, method.eta.")
    runs: tuple[str, ...] = Field(description="Run ids, one per repeat.")
    values: tuple[float, ...] = Field((), description="Scores of the runs finished so far, in order.")
    value: float | None = Field(None, description="The aggregated score; of two objectives the first.")
    scores: dict[str, float] = Field({}, description="Aggregated values of two objectives, by metric.")
    loss: float | None = Field(None, description="Mean validation cross-entropy, which decides between equal scores.")
    intermediate: dict[int, float] = Field({}, description="What was reported to the pruner, by step.")
    state: TrialState = "running"
    attrs: dict[str, Any] = Field({}, description="The pruner's own notes (Optuna's system attributes).")

    @cached_property
    def text(self) -> str:
        """Its JSON as it stands in `CellFile.text`, made once."""
        return "  " + self.model_dump_json(indent=1).replace("\n", "\n  ")


class FinalEntry(Frozen):
    """One final run: a chosen configuration with one of the final seeds."""

    index: int = Field(ge=0)
    seed: int
    run_id: str
    trial: int | None = Field(None, description="Of several chosen configurations, the number of its trial.")


class Choice(Frozen):
    """The configuration that the final runs use."""

    trial: int
    params: dict[str, Any]
    value: float | None
    rule: str = Field(description="How it was chosen, in words.")
    scores: dict[str, float] = Field({}, description="Its values of several objectives, by metric.")
    roles: tuple[str, ...] = Field((), description="What it is among several: best_top1, best_robust_top1, knee.")


class Measure(Frozen):
    """One of several objectives."""

    metric: str
    direction: Literal["max", "min"]
    evaluation: dict[str, Any] = Field({}, description="The EvalSpec that has the metric on the test part.")


class HeldOutDomain(Frozen):
    """The domain that a cell is tested on and was not trained on."""

    section: str = Field(description="Label of the data set in the study file.")
    domain: str
    part: HeldOutPart = "whole"
    seen: str = Field("", description="What of it the backbone was pre-trained on, in words: then it is transductive.")
    unknown: str = Field("", description="Why nobody can tell what else of it the backbone was pre-trained on.")
    repeated: int = Field(0, ge=0, description="How many of its images stand in another domain as well, file by file.")
    selection: SelectionRule = "training_domain"
    looks: int = Field(0, ge=0, description="Evaluations on it among which an oracle chose a final run's weights.")


class CellFile(Frozen):
    """A cell: what it is, its trials, its choice, its final runs."""

    schema_version: int = 1
    key: str = Field(description="Folder name; dataset--method--backbone.")
    dataset: str
    method: str
    backbone: str
    metric: str
    direction: Literal["max", "min"]
    space: dict[str, dict[str, Any]] = Field({}, description="Search spaces by path, as a study file writes them.")
    trials: tuple[TrialEntry, ...] = ()
    choice: Choice | None = None
    objectives: tuple[Measure, ...] = Field((), description="Where there are two; the first is `metric`, too.")
    choices: tuple[Choice, ...] = Field((), description="What was chosen for two objectives; the first is `choice`.")
    failure: str | None = Field(None, description="Why the cell cannot be finished, e.g. its pre-training failed.")
    finals: tuple[FinalEntry, ...] = ()
    evaluation: dict[str, Any] = Field({}, description="The EvalSpec of the final runs.")
    evaluations: dict[str, dict[str, Any]] = Field({}, description="The EvalSpecs of their further evaluations.")
    held_out: HeldOutDomain | None = Field(None, description="The domain that is the test part, if one is held out.")

    def labels(self, kind: str) -> tuple[str, ...]:
        """Returns by what labels `--only KIND=LABEL` means this cell, as `spec.cells.Cell.labels` does."""
        label: str = getattr(self, kind)
        return (label, self.held_out.section) if kind == "dataset" and self.held_out is not None else (label,)

    @property
    def text(self) -> str:
        """Its JSON: that of `model_dump_json(indent=1)`, whose trials are not all written anew each time."""
        whole = self.model_copy(update={"trials": ()}).model_dump_json(indent=1)
        if not self.trials:
            return whole
        head, mark, tail = whole.partition('\n "trials": [')
        return "".join((head, mark, "\n", ",\n".join(trial.text for trial in self.trials), "\n ", tail))
