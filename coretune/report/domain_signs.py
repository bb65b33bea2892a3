"""Signs in the table of domains: beside a figure that is not a plain one, and in the place of one that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from coretune.report.domains import DomainFigure, DomainRow, DomainTable
from coretune.report.spread import unit_of

SIGNS = ("†", "‡", "§", "¶")
"""The first marks' signs; the next ones have them twice, and so on."""

TEX = {"†": r"\dagger", "‡": r"\ddagger", "§": r"\S", "¶": r"\P"}
RUN = re.compile(f"[{''.join(SIGNS)}]+(?:,[{''.join(SIGNS)}]+)*")


def of_figure(figure: DomainFigure) -> list[str]:
    """Returns what a figure is marked with, or why it is not there."""
    return list(figure.marks) if figure.mean is not None else [f"no score: {figure.gap}"]


def of_average(row: DomainRow, table: DomainTable) -> list[str]:
    """Returns the marks of all that an average is over, or why there is none."""
    if row.average.mean is None and all(figure.mean is not None for figure in row.figures):
        return [f"no average: no {unit_of(table.spread)} has a score on every domain"]
    there = row.average.mean is not None
    return _once(mark for one in row.figures if (one.mean is not None) == there for mark in of_figure(one))


def of_worst(row: DomainRow) -> list[str]:
    """Returns the marks of the worst domain's figure, or why it is not known which it is."""
    if row.worst is not None:
        return of_figure(row.worst)
    return _once(mark for one in row.figures if one.mean is None for mark in of_figure(one))


def of_difference(row: DomainRow, table: DomainTable) -> list[str]:
    """Returns why there is no difference to the baseline; nothing for the baseline, and where there is one."""
    there = row.difference is not None and row.difference.difference is not None
    if there or table.baseline in (None, row.method):
        return []
    if row.average.mean is None:
        return of_average(row, table)
    place = (row.dataset, row.backbone, table.baseline)
    theirs = next((one for one in table.rows if (one.dataset, one.backbone, one.method) == place), None)
    if theirs is None or theirs.average.mean is None:
        return [f"no difference: {table.baseline} has no average"]
    return [f"no difference: no {unit_of(table.spread)} has both averages"]


def marks_of(rows: Iterable[DomainRow], table: DomainTable) -> list[str]:
    """Returns all that has a sign in some rows of a table, each once."""
    return _once(
        mark
        for row in rows
        for found in (*map(of_figure, row.figures), of_average(row, table), of_difference(row, table))
        for mark in found
    )


def signs_of(table: DomainTable) -> dict[str, str]:
    """Returns a sign of its own for each mark of a table."""
    return signs_for(marks_of(table.rows, table))


def signs_for(marks: Iterable[str]) -> dict[str, str]:
    """Returns a sign of its own for each of some marks."""
    signs = (sign * times for times in count(1) for sign in SIGNS)
    return dict(zip(_once(marks), signs, strict=False))


def signed(text: str, marks: Sequence[str], signs: Mapping[str, str]) -> str:
    """Returns a cell's text with the signs of its marks, a comma between two of them."""
    return text + ",".join(signs[mark] for mark in marks)


def to_tex(text: str) -> str:
    """Returns LaTeX text with its signs raised."""
    return RUN.sub(lambda found: f"$^{{{''.join(TEX.get(sign, sign) for sign in found[0])}}}$", text)


def _once(marks: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(marks))
