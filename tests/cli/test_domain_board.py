from __future__ import annotations

from rich.console import Console

from coretune.report.domains import DomainFigure, DomainRow, DomainTable
from coretune.report.statistics import compare_paired, summarise
from coretune_cli.domain_board import domain_board

MARK = "transductive: the backbone has seen the held-out domain"


def row(method: str, values: dict[str, list[float]], base: list[float] | None = None) -> DomainRow:
    figures = []
    for domain, scores in values.items():
        found = summarise(scores)
        marks = (MARK,) if domain == "photo" else ()
        figures.append(DomainFigure(domain, found.n, found.mean, found.stderr, "defaults", marks, "", True, ()))
    averages = [sum(scores) / len(values) for scores in zip(*values.values(), strict=True)]
    difference = None if base is None else compare_paired(averages, base)
    return DomainRow("pacs", "net", method, tuple(figures), summarise(averages), figures[0], difference, "defaults")


def drawn(width: int, *, complete: bool = True, rows: tuple[DomainRow, ...] = ()) -> str:
    rows = rows or (
        row("ce", {"art": [60.0, 62.0], "photo": [90.0, 91.0]}),
        row("core_tuning", {"art": [59.0, 60.0], "photo": [89.0, 92.0]}, [75.0, 76.5]),
    )
    table = DomainTable("study", "top1", "max", "ce", rows, complete, ("a note.",))
    console = Console(width=width, record=True, file=None, color_system=None)
    with console.capture() as captured:
        console.print(domain_board(table, width))
    return captured.get()


def test_domains_are_columns_and_what_they_mean_stands_below() -> None:
    text = drawn(160)
    head, ce, core = text.splitlines()[1:4]
    assert head.split("  ")[0] == "method" and [head.index(name) for name in ("art", "photo", "average of 2")]
    assert "61.00 ± 1.00" in ce and "90.50 ± 0.50†" in ce and "75.75 ± 0.75" in ce
    assert "−0.75" in core and "-0.75" not in core
    assert f"† {MARK}." in text and "Selection: defaults." in text and "Note: a note." in text
    assert "Not complete" not in text and "Not complete" in drawn(160, complete=False)


def test_a_narrow_screen_keeps_domains_and_their_average() -> None:
    text = drawn(60)
    assert max(map(len, text.splitlines())) <= 60
    assert "90.50 ± 0.50†" in text and "average of 2" in text and "worst domain" not in text.splitlines()[1]


def test_where_even_that_is_too_wide_each_figure_has_a_line_and_keeps_its_sign() -> None:
    text = drawn(38)
    lines = [line.split() for line in text.splitlines()[1:8]]
    assert lines[0] == ["method", "domain", "top1"]
    assert lines[2] == ["ce", "photo", "90.50", "±", "0.50†"]
    assert lines[6] == ["core_tuning", "average", "of", "2", "75.00", "±", "1.00†"] and "…" not in text


def test_n_is_said_where_its_column_had_to_go() -> None:
    assert "\nn: 2." in drawn(38) and "\nn: " not in drawn(160)
    one = row("other", {"art": [60.0], "photo": [90.0]})
    both = (row("ce", {"art": [60.0, 62.0], "photo": [90.0, 91.0]}), one)
    assert "n: 2 of ce; 1 of other." in drawn(38, rows=both)


def test_a_hyphen_in_a_domain_is_no_minus() -> None:
    text = drawn(160, rows=(row("ce", {"clip-art": [60.0, 62.0], "photo": [90.0, 91.0]}),))
    assert "clip-art 61.00 ± 1.00" in text
