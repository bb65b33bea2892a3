"""The front of two objectives as a picture: a panel per cell, one objective against the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coretune.errors import RequestError
from coretune.report.figure_file import write_drawn
from coretune.report.front import FrontPoint
from coretune.report.leaderboard import Leaderboard, Row
from coretune.results.front import KNEE, roles_of

COLUMNS = 3
MARKS = ("tab:blue", "tab:red", "tab:green")
UNITS = {"cross_entropy": "nats"}


def write_front(leaderboard: Leaderboard, path: Path) -> None:
    """Draws the front and writes it as the format that the file's ending means.

    Raises:
        RequestError: The ending means no format, or there is nothing to draw.
        StorageError: The file cannot be written.
    """
    write_drawn(lambda: draw_front(leaderboard), path)


def draw_front(leaderboard: Leaderboard) -> Figure:
    """Draws a panel for each cell: all trials, their front and what was chosen, and the final runs on the test part.

    Raises:
        RequestError: The study has one objective, or no trial has completed.
    """
    cells = dict.fromkeys((point.dataset, point.backbone, point.method) for point in leaderboard.front)
    if not cells:
        raise RequestError(f"there is no front to draw: {nothing(leaderboard)}")
    columns = min(COLUMNS, len(cells))
    rows = math.ceil(len(cells) / columns)
    figure = Figure(figsize=(4.8 * columns + 0.6, 4.0 * rows + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, cell in zip(panels, cells, strict=False):
        _panel(axes, leaderboard, cell)
    for axes in panels[len(cells) :]:
        axes.set_axis_off()
    seen = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=columns + 1, fontsize=8, frameon=False)
    figure.suptitle(leaderboard.study, fontsize=10)
    return figure


def nothing(leaderboard: Leaderboard) -> str:
    """Returns why a leaderboard has no front."""
    if not leaderboard.objectives:
        return f"{leaderboard.study} has one objective; objective.metric: [top1, robust_top1] has two"
    return "no trial of a search has completed yet"


def _panel(axes: Axes, leaderboard: Leaderboard, cell: tuple[str, str, str]) -> None:
    (first, _), (second, _) = leaderboard.objectives
    points = [point for point in leaderboard.front if (point.dataset, point.backbone, point.method) == cell]
    front = sorted((point for point in points if point.on_front), key=lambda point: point.scores[first])
    axes.scatter(
        *_columns(points, (first, second)), s=14, color="0.7", label="trials: validation", zorder=1, linewidths=0
    )
    axes.plot(*_columns(front, (first, second)), color="0.35", linewidth=1, marker=".", label="their front", zorder=2)
    for place, (role, colour) in enumerate(zip(roles_of((first, second)), MARKS, strict=True)):
        # One inside the other where a configuration has several roles.
        size = 6 + 4 * (2 - place)
        _chosen(axes, points, (first, second), role, colour, size)
        _tested(axes, leaderboard.rows, (first, second), (*cell, role), colour, size)
    axes.set_xlabel(_axis(first), fontsize=9)
    axes.set_ylabel(_axis(second), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(" · ".join(cell), fontsize=9)


def _chosen(
    axes: Axes, points: Sequence[FrontPoint], metrics: tuple[str, str], role: str, colour: str, size: int
) -> None:
    """Marks the trial that was chosen as something by an open circle."""
    chosen = [point for point in points if role in point.roles]
    if chosen:
        axes.plot(
            *_columns(chosen, metrics),
            color=colour,
            marker="o",
            markersize=size,
            markerfacecolor="none",
            linestyle="none",
            label=f"{_said(role)}: validation",
            zorder=3,
        )


def _tested(
    axes: Axes,
    rows: Sequence[Row],
    metrics: tuple[str, str],
    place: tuple[str, str, str, str],
    colour: str,
    size: int,
) -> None:
    """Draws the mean of a choice's final runs on the test part, with its standard errors, as a diamond."""
    found = {row.metric: row for row in rows if (row.dataset, row.backbone, row.method, row.choice) == place}
    means = [mean for metric in metrics if metric in found and (mean := found[metric].mean) is not None]
    if len(means) < len(metrics):
        return
    errors = [found[metric].stderr or 0.0 for metric in metrics]
    axes.errorbar(
        means[0],
        means[1],
        xerr=errors[0],
        yerr=errors[1],
        color=colour,
        marker="D",
        markersize=size * 0.6,
        elinewidth=1,
        linestyle="none",
        label=f"{_said(place[3])}: test, mean ± s.e.",
        zorder=4,
    )


def _columns(points: Sequence[FrontPoint], metrics: tuple[str, str]) -> tuple[list[float], list[float]]:
    first, second = ([point.scores[metric] for point in points] for metric in metrics)
    return first, second


def _axis(metric: str) -> str:
    return f"{metric} ({UNITS.get(metric, '%')})"


def _said(role: str) -> str:
    return role if role == KNEE else role.replace("_", " ", 1)
