"""Domains as columns on the screen: from `DomainTable` to what Rich draws. Pure functions, no input or output."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coretune_cli.board import footnote
from coretune_cli.columns import Column, fitted

if TYPE_CHECKING:
    from coretune.report.domains import DomainRow, DomainTable

NUMBER = "n"


def domain_board(table: DomainTable, width: int) -> RenderableType:
    """Draws a table for each data set, and says under them what the numbers mean."""
    from coretune.report.typeset_domains import legend

    parts: list[RenderableType] = []
    for dataset, rows in groupby(table.rows, key=lambda row: row.dataset):
        group = list(rows)
        head = Text.assemble((table.study, "bold"), "  ", (f"{dataset}, one domain held out", "dim"))
        drawn = _drawn(group, table, width)
        parts += [head, drawn, Text("")]
        parts += [footnote(line) for line in (*legend(group, table), *_numbers(group, drawn))]
        rules = dict.fromkeys(f"Selection: {row.selection_rule}." for row in group if row.selection_rule)
        parts += [*(footnote(rule) for rule in rules), Text("")]
    missing = "" if table.complete else "Not complete: not every domain has all its final runs."
    lines = [*filter(None, [missing]), *(f"Note: {note.rstrip('.')}." for note in table.notes)]
    return Group(*parts, *map(footnote, lines))


def _drawn(rows: Sequence[DomainRow], table: DomainTable, width: int) -> Table:
    """Draws domains as columns or, where these would be cut off with their signs, a line for each method and domain."""
    from coretune.report.typeset_domains import cells, header

    wide = fitted(_columns(rows, table), rows, width)
    if sum((column.width or 0) + 1 for column in wide.columns) - 1 <= width:
        return wide
    several = len({row.backbone for row in rows}) > 1
    places = header(rows, table)[2 : 3 + len(rows[0].figures)]
    lines = [(row, place, text) for row in rows for place, text in zip(places, cells(row, table)[2:], strict=False)]
    columns: list[Column[tuple[DomainRow, str, str]]] = [
        *([Column("backbone", lambda line: line[0].backbone, least=10)] if several else []),
        Column("method", lambda line: line[0].method, least=14),
        Column("domain", lambda line: line[1], least=12),
        Column(table.metric, lambda line: line[2], 0, "right"),
    ]
    return fitted(columns, lines, width)


def _numbers(rows: Sequence[DomainRow], drawn: Table) -> list[str]:
    """Returns what n is where its column had to go."""
    from coretune.report.typeset_domains import numbers

    there = [row for row in rows if any(figure.mean is not None for figure in row.figures)]
    if not there or any(column.header == NUMBER for column in drawn.columns):
        return []
    several = len({row.backbone for row in rows}) > 1
    found: dict[str, list[str]] = {}
    for row in there:
        found.setdefault(numbers(row), []).append(f"{row.method} · {row.backbone}" if several else row.method)
    said = [f"{number} of {', '.join(whose)}" for number, whose in found.items()]
    return [f"n: {'; '.join(said) if len(found) > 1 else next(iter(found))}."]


def _columns(rows: Sequence[DomainRow], table: DomainTable) -> list[Column[DomainRow]]:
    """Returns the columns, all but the selection rule's: domains and their average stay where room is scarce."""
    from coretune.report.typeset import NEGATIVE
    from coretune.report.typeset_domains import cells, header

    heads, domains = header(rows, table), len(rows[0].figures)
    heads[6 + domains] = NUMBER
    texts = {(row.backbone, row.method): cells(row, table) for row in rows}
    worst, seeds = 3 + domains, 6 + domains
    ranks = {worst: 3, worst + 1: 4, worst + 2: 5, seeds: 2}
    first = 0 if len({row.backbone for row in rows}) > 1 else 1

    def text(place: int, row: DomainRow) -> str:
        found = texts[row.backbone, row.method][place]
        return found if place < 2 else NEGATIVE.sub("−", found)

    return [
        Column(
            heads[place],
            partial(text, place),
            ranks.get(place, 0),
            "left" if place < 2 else "right",
            least=14 if place < 2 else None,
        )
        for place in range(first, len(heads) - 1)
    ]
