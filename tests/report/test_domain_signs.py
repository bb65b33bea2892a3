"""Each mark has a sign of its own, however many there are."""

from __future__ import annotations

from coretune.report.domain_signs import signed, signs_of, to_tex
from coretune.report.domains import DomainFigure, DomainRow, DomainTable
from coretune.report.statistics import Summary, summarise
from coretune.report.typeset_domains import cells, domains_to_latex, domains_to_markdown, legend

MARKS = [f"mark {number}" for number in range(10)]


def table() -> DomainTable:
    """A row of five domains, two marks each."""
    pairs = zip(MARKS[::2], MARKS[1::2], strict=True)
    figures = tuple(
        DomainFigure(f"d{place}", 2, 60.0, 1.0, "defaults", marks, "", True, ()) for place, marks in enumerate(pairs)
    )
    average: Summary = summarise([60.0, 61.0])
    row = DomainRow("pacs", "net", "ce", figures, average, figures[0], None, "defaults")
    return DomainTable("study", "top1", "max", "ce", (row,), True, ())


def test_no_two_marks_have_one_sign() -> None:
    signs = signs_of(table())
    assert list(signs) == MARKS
    assert list(signs.values()) == ["†", "‡", "§", "¶", "††", "‡‡", "§§", "¶¶", "†††", "‡‡‡"]


def test_legend_and_cells_have_the_same_signs_in_every_form() -> None:
    found = table()
    assert cells(found.rows[0], found)[2:7] == [f"60.00 ± 1.00{s}" for s in ("†,‡", "§,¶", "††,‡‡", "§§,¶¶", "†††,‡‡‡")]
    assert legend(found.rows, found)[2:] == [f"{sign} {mark}." for mark, sign in signs_of(found).items()]
    markdown, tex = domains_to_markdown(found), domains_to_latex(found)
    assert "60.00 ± 1.00††,‡‡ |" in markdown and "†† mark 4. ‡‡ mark 5." in markdown
    assert r"60.00 $\pm$ 1.00$^{\dagger\dagger,\ddagger\ddagger}$ &" in tex
    assert r"$^{\dagger\dagger}$ mark 4. $^{\ddagger\ddagger}$ mark 5." in tex


def test_signs_are_set_one_by_one() -> None:
    assert signed("1.0", ["b", "a"], {"a": "†", "b": "††"}) == "1.0††,†"
    assert to_tex("1.0††,† & §, ¶") == r"1.0$^{\dagger\dagger,\dagger}$ & $^{\S}$, $^{\P}$"
