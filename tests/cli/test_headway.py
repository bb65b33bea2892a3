"""How far an evaluation is: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from coretune.robust.headway import Headway
from coretune_cli.bar import EVERY_S
from coretune_cli.headway import far, headway_bar, where


def test_lines_come_every_ten_seconds() -> None:
    now, out = [0.0], Console(file=io.StringIO(), width=200)
    with headway_bar("attack on up to 10 test images", out=out, clock=lambda: now[0]) as tell:
        tell(Headway("attack", "pgd at ε = 1/255", 1, 10, 20))
        now[0] = EVERY_S
        tell(Headway("attack", "square at ε = 1/255", 5, 10, 12_345))
        now[0] += EVERY_S
        tell(Headway("probes", "", 0, 64, 20_000))
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [
        "attack on up to 10 test images ...",
        "attack: square at ε = 1/255, 50 %, 12,345 forward passes",
        "attack, probes, 0 %, 20,000 forward passes",
    ]


def test_a_terminal_has_a_bar_that_leaves_nothing() -> None:
    file = io.StringIO()
    out = Console(file=file, width=120, force_terminal=True, color_system=None)
    with headway_bar("attack", out=out) as tell:
        tell(Headway("median", "fab-t", 50, 100, 7))
    assert "median: fab-t" in file.getvalue() and "50 %, 7 forward passes" in file.getvalue()
    with headway_bar("attack", out=out) as tell:
        tell(Headway())


def test_what_is_not_known_is_not_said() -> None:
    assert where(Headway()) == "" and far(Headway()) == ""
    assert where(Headway("attack")) == "attack" and far(Headway("attack", total=3)) == "0 %"
