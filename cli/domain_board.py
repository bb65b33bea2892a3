"""Domains as columns on the screen: from `DomainTable` to what Rich draws. Pure functions, no input or output."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from coretune_cli.board import footnote
from coretune_cli.columns import Column, fitted

if TYPE_CHECKING:
    from coretune.report.domains import DomainRow, DomainTable


def domain_board(table: DomainTable, width: int) -> RenderableType:
    """Draws a table for each data set, and says under them what the numbers mean."""
    from coretune.report.typeset_domains import legend

    parts: list[RenderableType] = []
    for dataset, rows in groupby(table.rows, key=lambda row: row.dataset):
        group = list(rows)
        head = Text.assemble((table.study, "bold"), "  ", (f"{dataset}, one domain held out", "dim"))
        parts += [head, fitted(_columns(group, table), group, width), Text("")]
        parts += [footnote(line) for line in legend(group, table)]
        rules = dict.fromkeys(f"Selection: {row.selection_rule}." for row in group if row.selection_rule)
        parts += [*(footnote(rule) for rule in rules), Text("")]
    missing = "" if table.complete else "Not complete: not every domain has all its final runs."
    lines = [*filter(None, [missing]), *(f"Note: {note.rstrip('.')}." for note in table.notes)]
    return Group(*parts, *map(footnote, lines))


def _columns(rows: Sequence[DomainRow], table: DomainTable) -> list[Column[DomainRow]]:
    """Returns the columns, all but the selection rule's: domains and their average stay where room is scarce."""
    from coretune.report.typeset import NEGATIVE
    from coretune.report.typeset_domains import cells, header

    heads, domains = header(rows, table), len(rows[0].figures)
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
            least=8 if place < 2 else None,
        )
        for place in range(first, len(heads) - 1)
    ]
