"""`coretune leaderboard front` on the screen: the trials that no other beats in both objectives, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from coretune_cli.columns import Column, fitted
from coretune_cli.formats import params_text, score

if TYPE_CHECKING:
    from coretune.report.front import FrontPoint
    from coretune.report.leaderboard import Leaderboard


def front_view(leaderboard: Leaderboard, width: int) -> RenderableType:
    """Draws the front of each cell, from the best by the first objective to the best by the second."""
    metrics = [metric for metric, _ in leaderboard.objectives]
    head = Text.assemble((leaderboard.study, "bold"), "  ", (f"validation {' and '.join(metrics)}", "dim"))
    parts: list[RenderableType] = [head]
    for cell in dict.fromkeys((point.dataset, point.backbone, point.method) for point in leaderboard.front):
        points = [point for point in leaderboard.front if (point.dataset, point.backbone, point.method) == cell]
        sign = 1 if leaderboard.objectives[0][1] == "max" else -1
        front = sorted((p for p in points if p.on_front), key=lambda p: -sign * p.scores[metrics[0]])
        said = f"  {len(front)} of {len(points)} trials"
        parts += [Text(""), Text.assemble((" · ".join(cell), "bold"), (said, "dim"))]
        parts.append(fitted(_columns(metrics), front, width))
    return Group(*parts)


def _columns(metrics: list[str]) -> list[Column[FrontPoint]]:
    return [
        Column("trial", lambda point: str(point.trial), 0, "right"),
        *(_value(metric) for metric in metrics),
        Column("chosen as", lambda point: ", ".join(point.roles), 0, least=12),
        Column("parameters", lambda point: params_text(point.params), 1, least=20),
    ]


def _value(metric: str) -> Column[FrontPoint]:
    return Column(metric, lambda point: score(point.scores[metric], metric), 0, "right")
