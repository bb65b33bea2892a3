from __future__ import annotations

import io
from itertools import count

from rich.console import Console

from coretune_cli.bar import byte_bar, counted, image_bar, pace


def test_a_line_every_ten_seconds_where_there_is_no_terminal() -> None:
    out, now = io.StringIO(), [0.0]
    with image_bar("packing pacs", 10_000, out=Console(file=out, width=200), clock=lambda: now[0]) as at:
        for second in range(1, 26):
            now[0] = float(second)
            at(second * 100, 100.0)
    assert out.getvalue().splitlines() == [
        "packing pacs: 1,000 of 10,000 images, 100 images/s, about 1m30s left",
        "packing pacs: 2,000 of 10,000 images, 100 images/s, about 1m20s left",
    ]


def test_no_line_where_it_is_soon_done() -> None:
    out = io.StringIO()
    with image_bar("packing digits", 1797, out=Console(file=out), clock=lambda: 0.0) as at:
        at(1797, 9000.0)
    assert out.getvalue() == ""


def test_a_bar_on_a_terminal_which_is_gone_at_the_end() -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=120, color_system=None, legacy_windows=False)
    with image_bar("packing pacs", 10_000, out=screen) as at:
        at(2_500, 500.0)
    said = out.getvalue()
    assert "packing pacs" in said and "2500/10000" in said and "500 images/s, about 15s left" in said
    assert said.endswith("\x1b[2K")


def test_work_that_does_not_count_is_counted() -> None:
    told: list[tuple[int, float]] = []
    ticks = count(0.0, 0.5)
    advance = counted(lambda done, speed: told.append((done, speed)), lambda: next(ticks))
    for _ in range(3):
        advance()
    assert told == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert pace(5, 0.0) == ""


def test_bytes_of_one_file_after_another() -> None:
    out, now = io.StringIO(), [0.0]
    with byte_bar("dtd", out=Console(file=out, width=200), clock=lambda: now[0]) as at:
        for second, done, total in (
            (0, 0, 2**30),
            (9, 2**20, 2**30),
            (10, 2**21, 2**30),
            (11, 0, None),
            (21, 512, None),
        ):
            now[0] = float(second)
            at(done, total)
    assert out.getvalue().splitlines() == ["dtd: 2.0 MiB of 1.0 GiB", "dtd: 512 B"]


def test_a_bar_of_bytes_on_a_terminal() -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=120, color_system=None, legacy_windows=False)
    with byte_bar("dtd", out=screen) as at:
        at(0, 600_000_000)
        at(300_000_000, 600_000_000)
    said = out.getvalue()
    assert "dtd" in said and "300.0/600.0 MB" in said and said.endswith("\x1b[2K")
