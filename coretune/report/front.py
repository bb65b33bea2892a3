"""The front of two objectives: what each trial left on the validation part, and the roles of those that were chosen.

A leaderboard of two objectives has rows by role and metric: the final runs of one choice, scored by one metric on the
test part. Each such part of it is a leaderboard like that of one objective (`view`): a method is compared with the
baseline's choice of the same role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coretune.results.cellfile import CellFile, Choice
from coretune.results.front import roles_of, trials_on_front
from coretune.results.selection import Direction


@dataclass(frozen=True)
class FrontPoint:
    """One completed trial of a search for a front.

    Attributes:
        dataset: Label of the data set.
        backbone: Label of the backbone.
        method: Label of the method.
        trial: Its number.
        scores: Its values of the two objectives on the validation part, by metric.
        on_front: Whether no other trial of the cell is at least as good in both and better in one.
        roles: What it was chosen as.
        params: Its configuration: values by path.
    """

    dataset: str
    backbone: str
    method: str
    trial: int
    scores: Mapping[str, float]
    on_front: bool
    roles: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


def metrics_of(cell: CellFile) -> tuple[tuple[str, Direction], ...]:
    """Returns the objectives of a cell with their directions: one or two."""
    if not cell.objectives:
        return ((cell.metric, cell.direction),)
    return tuple((measure.metric, measure.direction) for measure in cell.objectives)


def front_points(cell: CellFile) -> list[FrontPoint]:
    """Returns the completed trials of a cell with two objectives, by number; nothing of any other cell."""
    if not cell.objectives:
        return []
    metrics = tuple(measure.metric for measure in cell.objectives)
    directions = tuple(measure.direction for measure in cell.objectives)
    front = {trial.number for trial in trials_on_front(cell.trials, metrics, directions)}
    roles = {choice.trial: choice.roles for choice in cell.choices}
    return [
        FrontPoint(
            dataset=cell.dataset,
            backbone=cell.backbone,
            method=cell.method,
            trial=trial.number,
            scores=trial.scores,
            on_front=trial.number in front,
            roles=roles.get(trial.number, ()),
            params=trial.params,
        )
        for trial in sorted(cell.trials, key=lambda trial: trial.number)
        if trial.state == "completed" and trial.scores
    ]


def panels_of(objectives: Sequence[tuple[str, Direction]]) -> list[tuple[str, str, Direction]]:
    """Returns the parts of a leaderboard: role, metric, direction. Of one objective there is one, without a role."""
    roles = roles_of([metric for metric, _ in objectives]) or ("",)
    return [(role, metric, direction) for role in roles for metric, direction in objectives]


def view(cell: CellFile, role: str, metric: str) -> CellFile:
    """Returns a cell as one of its roles and one of its metrics see it: one choice, its final runs, one evaluation."""
    measure = next((measure for measure in cell.objectives if measure.metric == metric), None)
    if measure is None:
        return cell
    choice = choice_of(cell, role)
    finals = tuple(final for final in cell.finals if choice is not None and final.trial == choice.trial)
    return cell.model_copy(
        update={
            "metric": metric,
            "direction": measure.direction,
            "evaluation": measure.evaluation,
            "choice": choice,
            "finals": finals,
        }
    )


def choice_of(cell: CellFile, role: str) -> Choice | None:
    """Returns a cell's choice of a role, or None if it has none yet."""
    return next((choice for choice in cell.choices if role in choice.roles), None)
