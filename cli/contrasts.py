"""Planned contrasts on the screen: from `Contrasts` to what Rich draws. Pure functions, no input or output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from coretune_cli.board import footnote, interval, p_value
from coretune_cli.columns import DECORATION, Column, fitted

if TYPE_CHECKING:
    from coretune.report.contrasts import Contrast, Contrasts


def contrast_board(contrasts: Contrasts, width: int) -> RenderableType:
    """Draws planned contrasts, and says under them what the numbers mean and when they were planned."""
    from coretune.report.typeset_contrasts import legend

    better = "higher" if contrasts.direction == "max" else "lower"
    said = f"planned contrasts, test {contrasts.metric}, {better} is better"
    head = Text.assemble((contrasts.study, "bold"), "  ", (said, "dim"))
    table = fitted(contrast_columns(contrasts), contrasts.rows, width)
    lines = [*legend(contrasts), *(f"Note: {note.rstrip('.')}." for note in contrasts.notes)]
    return Group(head, table, Text(""), *(footnote(line) for line in lines))


def contrast_columns(contrasts: Contrasts) -> list[Column[Contrast]]:
    """Returns the columns; the least important ones go where room is scarce."""
    from coretune.report.typeset import digits_of

    digits = digits_of(contrasts.metric)
    rows = contrasts.rows
    one_dataset, one_backbone = (len({getattr(row, name) for row in rows}) == 1 for name in ("dataset", "backbone"))
    columns: list[Column[Contrast] | None] = [
        Column("data set", lambda row: row.dataset, DECORATION if one_dataset else 0, least=8),
        Column("backbone", lambda row: row.backbone, DECORATION if one_backbone else 0, least=8),
        Column("contrast", lambda row: f"{row.first} − {row.second}", least=16),
        Column("n", _pairs, 4, "right"),
        Column("difference", lambda row: _difference(row, digits), 0, "right"),
        Column("(95 %)", lambda row: interval(row.ci_low, row.ci_high, digits), 7, "right"),
        Column("p", lambda row: p_value(row.p), 5, "right"),
        Column("p Holm", lambda row: p_value(row.p_holm), 1, "right"),
        None if contrasts.equivalence is None else Column("p TOST", lambda row: p_value(row.p_tost_holm), 2, "right"),
        Column("MDD", lambda row: _mdd(row, digits), 3, "right"),
        Column("verdict", _verdict),
    ]
    return [column for column in columns if column is not None]


def _pairs(row: Contrast) -> str:
    return str(row.n) if row.n == row.seeds else f"{row.n} of {row.seeds}"


def _difference(row: Contrast, digits: int) -> Text:
    if row.difference is None:
        return Text("–", style="dim")
    return Text(f"{row.difference:+.{digits}f}".replace("-", "−"), style=_style(row))


def _mdd(row: Contrast, digits: int) -> str:
    return "" if row.mdd is None else f"{row.mdd:.{digits}f}"


def _verdict(row: Contrast) -> Text:
    return Text(row.verdict, style=_style(row) or "dim")


def _style(row: Contrast) -> str:
    """Returns green or red only where a verdict says it."""
    return {"better": "green", "worse": "red", "equivalent": "bold"}.get(row.verdict.partition(",")[0], "")
