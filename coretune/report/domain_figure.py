"""Held-out domains as a picture: a panel per domain, and one for their average; a mark per method."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coretune.errors import RequestError
from coretune.report.domains import DomainFigure, DomainRow, DomainTable
from coretune.report.figure_file import write_drawn
from coretune.report.statistics import Summary
from coretune.report.typeset import UNITS
from coretune.spec.wording import some

AVERAGE = "average"


def write_domains(table: DomainTable, path: Path) -> None:
    """Draws the table and writes it as the format that the file's ending means.

    Raises:
        RequestError: The ending means no format, or there is nothing to draw.
        StorageError: The file cannot be written.
    """
    write_drawn(lambda: draw_domains(table), path)


def draw_domains(table: DomainTable) -> Figure:
    """Draws a row of panels for each data set: its domains, then their average; means ± standard errors.

    What has to stand beside figures (that they are transductive, of an oracle, of 80 % of the domain) stands below, and
    why some are not there. A data set without any has no row.

    Raises:
        RequestError: No domain has a score yet.
    """
    if not any(figure.mean is not None for row in table.rows for figure in row.figures):
        raise RequestError("there is nothing to draw: no final run on a held-out domain has its score yet")
    groups = [list(rows) for _, rows in groupby(table.rows, key=lambda row: row.dataset)]
    groups = [rows for rows in groups if any(one.mean is not None for row in rows for one in row.figures)]
    columns = 1 + max(len(rows[0].figures) for rows in groups)
    heights = [0.32 * len(rows) + 0.9 for rows in groups]
    figure = Figure(figsize=(2.1 * columns + 1.4, sum(heights) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), columns, squeeze=False, sharey="row", height_ratios=heights)
    for line, rows in zip(panels, groups, strict=True):
        _names(line[0], rows)
        places = [*(one.domain for one in rows[0].figures), AVERAGE]
        for place, axes in enumerate(line):
            if place >= len(places):
                axes.set_axis_off()
                continue
            found = [row.figures[place] if place < len(row.figures) else row.average for row in rows]
            _panel(axes, found, places[place])
        line[0].set_title(f"{rows[0].dataset}: {places[0]}", fontsize=9)
    rules = " · ".join(dict.fromkeys(filter(None, (row.selection_rule for row in table.rows))))
    marks = dict.fromkeys(
        mark for row in table.rows for one in row.figures if one.mean is not None for mark in one.marks
    )
    unit = UNITS.get(table.metric, "")
    numbers = sorted({one.n for row in table.rows for one in row.figures if one.mean is not None})
    said = (
        f"test {table.metric} {unit} on the domain that was held out, mean ± s.e. over {table.spread}, "
        f"n = {' or '.join(map(str, numbers))}"
    )
    figure.suptitle(f"{table.study}: {said}", fontsize=9)
    figure.supxlabel("\n".join(filter(None, [f"selection: {rules}", "; ".join(marks), *_gaps(table)])), fontsize=7)
    return figure


def _gaps(table: DomainTable) -> list[str]:
    """Returns what is not drawn, a line for each reason."""
    found: dict[str, list[str]] = {}
    for row in table.rows:
        without = [one for one in row.figures if one.mean is None]
        for one in without:
            everywhere = len(without) == len(row.figures) and len({each.gap for each in without}) == 1
            place = f"{row.method} on {row.dataset}" if everywhere else f"{row.method} on {row.dataset}, {one.domain}"
            found.setdefault(one.gap, []).append(place)
    return [f"no score of {some(list(dict.fromkeys(places)), 6)}: {gap}" for gap, places in found.items()]


def _names(axes: Axes, rows: Sequence[DomainRow]) -> None:
    """Puts the methods' names beside the first panel, and that of the backbone where there are several."""
    several = len({row.backbone for row in rows}) > 1
    axes.set_yticks(range(len(rows)), [f"{row.method} · {row.backbone}" if several else row.method for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _panel(axes: Axes, figures: Sequence[DomainFigure | Summary], title: str) -> None:
    """Draws the figures of a domain, a line per method; what has no score yet is left out."""
    for place, figure in enumerate(figures):
        if figure.mean is None:
            continue
        axes.errorbar(
            figure.mean,
            place,
            xerr=figure.stderr,
            color="tab:blue" if title != AVERAGE else "black",
            marker="D" if title == AVERAGE else "o",
            markersize=4,
            elinewidth=1,
            linestyle="none",
        )
    axes.set_title(title, fontsize=9)
    axes.locator_params(axis="x", nbins=4)  # more run into one another in so narrow a panel
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
