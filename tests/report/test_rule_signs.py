"""Of rows that were chosen by several rules each figure has the signs of its own, in every form of the table."""

from __future__ import annotations

import pytest

from coretune.report.leaderboard import Leaderboard, build
from coretune.report.rule_signs import Selection
from coretune.report.typeset import to_latex, to_markdown
from coretune.results.cellfile import HeldOutDomain

PLAIN = "best validation top1 of 2 trials; last epoch"
SEEN = f"{PLAIN}; transductive: the backbone has seen the held-out domain"


@pytest.fixture
def mixed(builder) -> Leaderboard:
    """A study of which one domain of two was seen by the backbone."""
    builder.study(methods=["ce"], datasets=["a"], finals={"seeds": 2})
    path = builder.store.root / "study.yaml"
    path.write_text(path.read_text().replace("  a: {}", "  a: {held_out_domain: [photo, sketch, art]}"))
    for domain, values in {"photo": [70.0, 72.0], "sketch": [60.0, 62.0], "art": []}.items():
        cell = builder.cell(f"a-{domain}", "ce", values)
        seen = "3 of its 9 images" if domain == "photo" else ""
        builder.store.put_cell(cell.replace(held_out=HeldOutDomain(section="a", domain=domain, seen=seen)))
    return build(builder.store)


def test_each_figure_has_the_sign_of_its_rule(mixed: Leaderboard) -> None:
    selection = Selection(mixed.rows)
    signs = {row.dataset: selection.sign(row) for row in (*mixed.rows, *mixed.means)}
    assert signs == {"a-photo": "†", "a-sketch": "‡", "a-art": "", "mean": "†,‡"}
    assert str(selection) == f"† {SEEN}. ‡ {PLAIN}"


def test_one_rule_needs_no_sign(mixed: Leaderboard) -> None:
    plain = Selection(mixed.rows[1:])
    assert str(plain) == PLAIN and plain.sign(mixed.rows[1]) == "" and str(Selection(())) == ""


def test_signs_stand_in_markdown_and_latex(mixed: Leaderboard) -> None:
    markdown, tex = to_markdown(mixed), to_latex(mixed)
    assert "71.00 ± 1.00† |" in markdown and "61.00 ± 1.00‡ |" in markdown and "66.00 ± 1.00†,‡ |" in markdown
    assert f"Selection: † {SEEN}. ‡ {PLAIN}." in markdown and "differs" not in markdown + tex
    assert r"$\pm$ 1.00$^{\dagger}$" in tex and r"$\pm$ 1.00$^{\dagger,\ddagger}$" in tex
    assert rf"Selection: $^{{\dagger}}$ {SEEN}. $^{{\ddagger}}$ {PLAIN}." in tex
