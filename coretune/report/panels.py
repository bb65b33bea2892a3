"""The parts of a leaderboard of two objectives, each a leaderboard like that of one: for tables that people read."""

from __future__ import annotations

from dataclasses import replace

from coretune.report.front import panels_of
from coretune.report.leaderboard import Leaderboard, common_rule
from coretune.results.selection import Direction


def panels(leaderboard: Leaderboard) -> list[Leaderboard]:
    """Returns the leaderboard itself, or of two objectives one for each choice and metric.

    Further evaluations stand with a choice's second metric, notes with the last part.
    """
    if not leaderboard.objectives:
        return [leaderboard]
    parts = panels_of(leaderboard.objectives)
    found = [_panel(leaderboard, role, metric, direction) for role, metric, direction in parts]
    return [*(replace(panel, notes=()) for panel in found[:-1]), found[-1]]


def _panel(leaderboard: Leaderboard, role: str, metric: str, direction: Direction) -> Leaderboard:
    last = metric == leaderboard.objectives[-1][0]
    rows, means = (
        tuple(row for row in every if (row.choice, row.metric) == (role, metric))
        for every in (leaderboard.rows, leaderboard.means)
    )
    evaluations, evaluation_means = (
        tuple(row for row in every if last and row.choice == role)
        for every in (leaderboard.evaluations, leaderboard.evaluation_means)
    )
    return replace(
        leaderboard,
        study=f"{leaderboard.study}, {role}, test {metric}",
        metric=metric,
        direction=direction,
        selection_rule=common_rule(rows),
        rows=rows,
        means=means,
        evaluations=evaluations,
        evaluation_means=evaluation_means,
        objectives=(),
        front=(),
    )
