"""How far an evaluation is that takes minutes: a bar on a terminal, a line every ten seconds elsewhere, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from coretune_cli.bar import Clock, now_and_then
from coretune_cli.output import console

if TYPE_CHECKING:
    from coretune.robust.headway import Headway

    Tell = Callable[[Headway], None]


@contextmanager
def headway_bar(title: str, *, out: Console | None = None, clock: Clock = time.monotonic) -> Iterator[Tell]:
    """Shows how far an evaluation is, and yields what is told so.

    An image that leaves early has none of its work left, so that a bar may jump; the passes through the model, which
    never stand still, say that something happens.

    Args:
        title: What is evaluated.
        out: Where it is shown; None takes stderr.
        clock: Tells when the next line is due.
    """
    out = out or console(stderr=True)
    if not out.is_terminal:
        out.print(f"{title} ...", style="dim", soft_wrap=True, highlight=False, markup=False)
        yield _lines(title.split(" ", 1)[0], out, clock)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(title, total=None, text="")

        def tell(now: Headway) -> None:
            bar.update(
                task, description=where(now) or title, completed=now.done, total=now.total or None, text=far(now)
            )

        yield tell


def where(now: Headway) -> str:
    """Writes what is done: `attack: square at ε = 4/255`."""
    return ": ".join(filter(None, (now.stage, now.detail)))


def far(now: Headway) -> str:
    """Writes how much of it is done: `43 %, 12,345 forward passes`; a pass is that of one image."""
    share = [f"{100 * now.done // now.total} %"] if now.total else []
    return ", ".join([*share, *([f"{now.passes:,} forward passes"] if now.passes else [])])


def _lines(name: str, out: Console, clock: Clock) -> Tell:
    due = now_and_then(clock)

    def tell(now: Headway) -> None:
        if due():
            stage = where(now) if now.stage == name else f"{name}, {where(now)}"
            out.print(", ".join(filter(None, (stage, far(now)))), soft_wrap=True, highlight=False, markup=False)

    return tell
