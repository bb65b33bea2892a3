"""Tables that fit: a table of fixed columns gives up its least important ones before it breaks a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

Row = TypeVar("Row")
DECORATION = 9
"""A column of this rank goes as soon as another would have to be narrowed."""


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column.

    Attributes:
        title: Its head.
        cell: What it shows of a row.
        rank: 0 stays always; of the others the highest goes first.
        justify: Where its content stands.
        least: If given, the column may be narrowed down to this width, and its content is cut with an ellipsis.
        fixed: A width that does not depend on the rows: of a bar, or of a column that must not jump.
    """

    title: str
    cell: Callable[[Row], RenderableType]
    rank: int = 0
    justify: Literal["left", "right"] = "left"
    least: int | None = None
    fixed: int | None = None


def fitted(
    columns: Sequence[Column[Row]], rows: Sequence[Row], width: int, *, sized_by: Sequence[Row] | None = None
) -> Table:
    """Returns a table of at most `width` characters.

    Args:
        columns: The columns, some of which may go.
        rows: The rows.
        width: Available characters.
        sized_by: Rows that decide the columns' widths, where only a part is shown, so that nothing jumps.
    """
    sample = rows if sized_by is None else sized_by
    natural = {id(column): _natural(column, sample) for column in columns}
    kept = _kept(columns, natural, width)
    gap = 2 if _total(kept, natural, 2, narrowed=False) <= width else 1
    widths = _shared(kept, natural, width, gap)
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    for column in kept:
        table.add_column(
            column.title, width=widths[id(column)], justify=column.justify, no_wrap=True, overflow="ellipsis"
        )
    for row in rows:
        table.add_row(*(column.cell(row) for column in kept))
    return table


def _natural(column: Column[Row], rows: Sequence[Row]) -> int:
    if column.fixed is not None:
        return max(column.fixed, Text(column.title).cell_len)
    return max([Text(column.title).cell_len, *(_length(column.cell(row)) for row in rows)])


def _length(content: RenderableType) -> int:
    if isinstance(content, str):
        return Text(content).cell_len
    if isinstance(content, Text):
        return content.cell_len
    return 0


def _kept(columns: Sequence[Column[Row]], natural: dict[int, int], width: int) -> list[Column[Row]]:
    """Returns the columns that stay: first decoration goes, then what can go, the highest rank before the others."""
    kept = list(columns)
    for lowest, narrowed in ((DECORATION, False), (1, True)):
        while _total(kept, natural, 1, narrowed=narrowed) > width and any(column.rank >= lowest for column in kept):
            kept.remove(max(kept, key=lambda column: column.rank))
    return kept


def _total(columns: Sequence[Column[Row]], natural: dict[int, int], gap: int, *, narrowed: bool) -> int:
    widths = (_floor(column, natural) if narrowed else natural[id(column)] for column in columns)
    return sum(widths) + gap * max(0, len(columns) - 1)


def _floor(column: Column[Row], natural: dict[int, int]) -> int:
    return natural[id(column)] if column.least is None else min(natural[id(column)], column.least)


def _shared(columns: Sequence[Column[Row]], natural: dict[int, int], width: int, gap: int) -> dict[int, int]:
    """Gives each column its floor, and what is left to the narrowed ones, evenly, up to what they need."""
    widths = {id(column): _floor(column, natural) for column in columns}
    spare = width - _total(columns, natural, gap, narrowed=True)
    while spare > 0 and (short := [key for key, value in widths.items() if value < natural[key]]):
        for key in short[:spare]:
            widths[key] += 1
        spare -= min(spare, len(short))
    return widths
