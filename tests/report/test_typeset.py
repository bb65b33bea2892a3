from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.report.leaderboard import Leaderboard, build
from coretune.report.typeset import latex, p_text, to_latex, to_markdown


def test_markdown_says_what_plus_minus_is(leaderboard: Leaderboard) -> None:
    text = to_markdown(leaderboard)
    header, _, first = [line for line in text.splitlines() if line.startswith("|")][:3]
    assert "test top1 %, mean ± standard error" in header
    assert "n (seeds)" in header and "difference to ce (95 % interval)" in header
    cells = [cell.strip() for cell in first.split("|")[1:-1]]
    assert cells[:5] == ["digits", "net", "ce", "3", "31.00 ± 1.38"]
    assert "Not complete" in text
    assert "not the standard deviation" in text
    assert all(line.count("|") == header.count("|") for line in text.splitlines() if line.startswith("|"))


def test_markdown_of_one_data_set_has_no_mean_rows(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, 71.0])
    assert "| mean |" not in to_markdown(build(builder.store))


@pytest.mark.parametrize("p, text", [(None, ""), (0.0312, "0.031"), (1.0, "1.000"), (0.0004, "<0.001")])
def test_p_for_people(p: float | None, text: str) -> None:
    assert p_text(p) == text


def test_latex_is_a_booktabs_table_with_the_best_in_bold(leaderboard: Leaderboard) -> None:
    lines = to_latex(leaderboard).splitlines()
    rows = [line for line in lines if line.endswith(r" \\")]
    columns = next(line for line in lines if line.startswith(r"\begin{tabular}")).rpartition("{")[2].rstrip("}")
    assert all(row.count(" & ") == len(columns) - 1 for row in rows)
    assert rows[1].startswith(r"digits & net & ce & 3 & 31.00 $\pm$ 1.38 &")
    assert r"core\_tuning & 3 & \textbf{" in rows[2]
    assert lines.count(r"\midrule") == 3, "one per data set, and one for the means"
    assert [line for line in lines if "caption" in line and "not the standard deviation" in line]


def test_latex_has_minus_signs(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, 71.0, 75.0])
    builder.cell("digits", "core_tuning", [69.0, 69.5, 72.0])
    assert " $-$1.83 ($-$" in to_latex(build(builder.store))


def test_latex_of_nothing(builder) -> None:
    assert r"\end{table}" in to_latex(build(builder.store))


def test_notes_are_comments_on_one_line(leaderboard: Leaderboard) -> None:
    text = to_latex(replace(leaderboard, notes=("a\nb & 100 %",)))
    assert text.endswith("% a b & 100 %\n")


@given(st.text())
def test_no_text_is_a_command(text: str) -> None:
    plain = latex(text)
    for command in sorted(("textbackslash{}", "textasciitilde{}", "textasciicircum{}"), key=len, reverse=True):
        plain = plain.replace(f"\\{command}", "")
    for sign in "&%$#_{}":
        plain = plain.replace(f"\\{sign}", "")
    assert not set(plain.replace("$<$", "").replace("$>$", "")) & set("&%#_{}~^")


def test_signs_of_the_paper_are_mathematics() -> None:
    assert latex("η = 5 % ± 1_a") == r"$\eta$ = 5 \% $\pm$ 1\_a"
