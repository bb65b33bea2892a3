"""Two results directories side by side on the screen: from `Changes` to what Rich draws. No input or output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from coretune_cli.board import footnote, interval, p_value, signed
from coretune_cli.columns import DECORATION, Column, fitted

if TYPE_CHECKING:
    from coretune.report.compare import Change, Changes


def change_board(changes: Changes, width: int) -> RenderableType:
    """Draws what changed from one directory to another, and says under it what the numbers mean."""
    from coretune.report.typeset_changes import legend

    head = Text.assemble((changes.first, "bold"), "  and  ", (changes.second, "bold"), "  ", (_metric(changes), "dim"))
    table = fitted(change_columns(changes), changes.rows, width)
    lines = [*legend(changes), *(f"Note: {note.rstrip('.')}." for note in changes.notes)]
    return Group(head, table, Text(""), *(footnote(line) for line in lines))


def change_columns(changes: Changes) -> list[Column[Change]]:
    """Returns the columns; the least important ones go where room is scarce."""
    from coretune.report.typeset import digits_of
    from coretune.report.typeset_changes import how_tested

    digits = digits_of(changes.metric)
    one_backbone = len({row.backbone for row in changes.rows}) == 1

    def reach(row: Change) -> Text:
        found = row.comparison.interval
        return interval(None, None, digits) if found is None else interval(found.low, found.high, digits)

    return [
        Column("data set", lambda row: row.dataset, least=8),
        Column("method", lambda row: row.method, least=14),
        Column("backbone", lambda row: row.backbone, DECORATION if one_backbone else 0, least=8),
        Column("first", lambda row: _mean(row.mean_first, digits), 0, "right"),
        Column("n", lambda row: str(row.n_first), 4, "right"),
        Column("second", lambda row: _mean(row.mean_second, digits), 0, "right"),
        Column("n", lambda row: str(row.n_second), 4, "right"),
        Column("second − first", lambda row: _difference(row, changes.direction, digits), 0, "right"),
        Column("(95 %)", reach, 5, "right"),
        Column("p", lambda row: p_value(row.comparison.p_t), 1, "right"),
        Column("test", lambda row: Text(how_tested(row), style="dim"), 2),
    ]


def _metric(changes: Changes) -> str:
    if not changes.metric:
        return "no cell has begun"
    return f"test {changes.metric}, {'higher' if changes.direction == 'max' else 'lower'} is better"


def _mean(value: float | None, digits: int) -> Text:
    return Text("–", style="dim") if value is None else Text(f"{value:.{digits}f}")


def _difference(row: Change, direction: str, digits: int) -> Text:
    found, reach = row.comparison.difference, row.comparison.interval
    if found is None:
        return Text("–", style="dim")
    low, high = (None, None) if reach is None else (reach.low, reach.high)
    return signed(found, low, high, direction, digits)
