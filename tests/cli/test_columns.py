from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from coretune_cli.columns import DECORATION, Column, fitted

ROWS = [("alpha", "12"), ("a very long label indeed", "3")]
COLUMNS: list[Column[tuple[str, str]]] = [
    Column("name", lambda row: row[0], least=6),
    Column("bar", lambda row: "━" * 10, DECORATION, fixed=10),
    Column("spare", lambda row: "spare", 2),
    Column("number", lambda row: row[1], 0, "right"),
]


def drawn(width: int) -> list[str]:
    out = Console(width=max(width, 1), file=io.StringIO(), color_system=None)
    out.print(fitted(COLUMNS, ROWS, width))
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def test_everything_where_there_is_room() -> None:
    assert drawn(80)[0].split() == ["name", "bar", "spare", "number"]
    assert "a very long label indeed" in drawn(80)[2]


def test_decoration_goes_before_a_label_is_cut() -> None:
    assert drawn(38) == [
        "name                     spare number",
        "alpha                    spare     12",
        "a very long label indeed spare      3",
    ]


def test_labels_are_cut_before_a_column_goes() -> None:
    assert drawn(24)[0].split() == ["name", "spare", "number"]
    assert drawn(24)[2].startswith("a very lon…")


def test_the_least_important_column_goes_last_of_all() -> None:
    assert drawn(13) == ["name   number", "alpha      12", "a ver…      3"]


def test_nothing_jumps_when_rows_change() -> None:
    part = Console(width=80, file=io.StringIO(), color_system=None)
    part.print(fitted(COLUMNS, ROWS[:1], 80, sized_by=ROWS))
    assert isinstance(part.file, io.StringIO)
    assert part.file.getvalue().splitlines()[0].rstrip() == drawn(80)[0]


@given(st.integers(13, 120))
def test_never_wider_than_the_terminal(width: int) -> None:
    lines = drawn(width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
