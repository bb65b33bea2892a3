"""Held-out domains as a picture: a panel per domain, and one for their average; a mark per method."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coretune.errors import RequestError
from coretune.report.domain_signs import of_average, signed, signs_for
from coretune.report.domains import DomainFigure, DomainRow, DomainTable
from coretune.report.figure_file import write_drawn
from coretune.report.statistics import Summary
from coretune.report.typeset import UNITS
from coretune.spec.wording import some

AVERAGE = "average"
TITLE_SIZE, LEGEND_SIZE = 9, 7
POINTS = 72
"""To the inch."""
LETTER, LINE_SPACING = 0.56, 1.2
"""How wide a letter is on average, with some to spare, and how high a line, each of the font's size."""


def write_domains(table: DomainTable, path: Path) -> None:
    """Draws the table and writes it as the format that the file's ending means.

    Raises:
        RequestError: The ending means no format, or there is nothing to draw.
        StorageError: The file cannot be written.
    """
    write_drawn(lambda: draw_domains(table), path)


def draw_domains(table: DomainTable) -> Figure:
    """Draws a row of panels for each data set: its domains, then their average; means ± standard errors.

    What has to stand beside figures (that they are transductive, of an oracle, of 80 % of the domain) has a sign at the
    titles of the panels it is true of, or at single figures. What signs mean stands below, and why some figures are not
    there. A data set without any has no row.

    Raises:
        RequestError: No domain has a score yet.
    """
    if not any(figure.mean is not None for row in table.rows for figure in row.figures):
        raise RequestError("there is nothing to draw: no final run on a held-out domain has its score yet")
    groups = [list(rows) for _, rows in groupby(table.rows, key=lambda row: row.dataset)]
    groups = [rows for rows in groups if any(one.mean is not None for row in rows for one in row.figures)]
    columns = 1 + max(len(rows[0].figures) for rows in groups)
    heights = [0.32 * len(rows) + 0.9 for rows in groups]
    width = 2.1 * columns + 1.4
    signs = signs_for(mark for row in table.rows for one in row.figures if one.mean is not None for mark in one.marks)
    above = _wrapped([_title(table)], width, TITLE_SIZE)
    below = _wrapped(_legend(table, signs), width, LEGEND_SIZE)
    lines = (TITLE_SIZE * above.count("\n") + LEGEND_SIZE * below.count("\n")) * LINE_SPACING / POINTS
    figure = Figure(figsize=(width, sum(heights) + 0.8 + lines), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), columns, squeeze=False, sharey="row", height_ratios=heights)
    for line, rows in zip(panels, groups, strict=True):
        _names(line[0], rows)
        for place, axes in enumerate(line):
            if place <= len(rows[0].figures):
                _panel(axes, rows, place, table, signs)
            else:
                axes.set_axis_off()
    figure.suptitle(above, fontsize=TITLE_SIZE)
    figure.supxlabel(below, fontsize=LEGEND_SIZE)
    return figure


def _title(table: DomainTable) -> str:
    """Returns what the figure shows."""
    numbers = sorted({one.n for row in table.rows for one in row.figures if one.mean is not None})
    return (
        f"{table.study}: test {table.metric} {UNITS.get(table.metric, '')} on the domain that was held out, "
        f"mean ± s.e. over {table.spread}, n = {' or '.join(map(str, numbers))}"
    )


def _legend(table: DomainTable, signs: Mapping[str, str]) -> list[str]:
    """Returns what stands below: who chose, what each sign means, and what is not drawn."""
    rules = " · ".join(dict.fromkeys(filter(None, (row.selection_rule for row in table.rows))))
    return [f"selection: {rules}", *(f"{sign} {mark}" for mark, sign in signs.items()), *_gaps(table)]


def _wrapped(lines: Sequence[str], width: float, size: float) -> str:
    """Returns text in lines that a figure of this width (inches) has room for, in a font of this size."""
    most = int(width * POINTS / (size * LETTER))
    return "\n".join(part for line in lines for part in textwrap.wrap(line, most))


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


def _panel(axes: Axes, rows: Sequence[DomainRow], place: int, table: DomainTable, signs: Mapping[str, str]) -> None:
    """Draws the figures of a domain, or after the last one the averages, a line per method.

    What has no score yet is left out. A sign that all figures share is the title's.
    """
    average = place == len(rows[0].figures)
    figures: list[DomainFigure | Summary] = [row.average if average else row.figures[place] for row in rows]
    marks = [of_average(row, table) if average else row.figures[place].marks for row in rows]
    there = {number: figure.mean for number, figure in enumerate(figures) if figure.mean is not None}
    shared = [mark for mark in signs if there and all(mark in marks[number] for number in there)]
    for number, mean in there.items():
        axes.errorbar(
            mean,
            number,
            xerr=figures[number].stderr,
            color="black" if average else "tab:blue",
            marker="D" if average else "o",
            markersize=4,
            elinewidth=1,
            linestyle="none",
        )
        if own := [mark for mark in marks[number] if mark not in shared]:
            axes.annotate(
                signed("", own, signs), (mean, number), (0, 2), textcoords="offset points", ha="center", fontsize=8
            )
    title = AVERAGE if average else rows[0].figures[place].domain
    title = title if place else f"{rows[0].dataset}: {title}"
    axes.set_title(signed(title, shared, signs), fontsize=9)
    axes.locator_params(axis="x", nbins=4)  # more run into one another in so narrow a panel
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
