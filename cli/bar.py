"""How far something with many images is: a bar on a terminal, a line every ten seconds elsewhere, both on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TransferSpeedColumn,
)

from coretune_cli.formats import duration, rate, size
from coretune_cli.output import console

EVERY_S = 10.0

At = Callable[[int, float], None]
"""Told how many images are done, and how many a second; 0 where that is not known yet."""

AtBytes = Callable[[int, int | None], None]
"""Told how many bytes of a file are there, and how many there will be, if that is known; 0 begins the next file."""

Clock = Callable[[], float]
"""Seconds, growing."""


@contextmanager
def image_bar(title: str, total: int, *, out: Console | None = None, clock: Clock = time.monotonic) -> Iterator[At]:
    """Shows how many of many images are done, and yields what is told so.

    Args:
        title: What is being done.
        total: How many images there are.
        out: Where it is shown; None takes stderr.
        clock: Tells when the next line is due.
    """
    out = out or console(stderr=True)
    if not out.is_terminal:
        yield _lines(title, total, out, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(title, total=total, pace="")
        yield lambda done, speed: bar.update(task, completed=done, pace=pace(total - done, speed))


@contextmanager
def byte_bar(title: str, *, out: Console | None = None, clock: Clock = time.monotonic) -> Iterator[AtBytes]:
    """Shows how much of one file after another has come in, and yields what is told so.

    Args:
        title: What is fetched.
        out: Where it is shown; None takes stderr.
        clock: Tells when the next line is due.
    """
    out = out or console(stderr=True)
    if not out.is_terminal:
        yield _byte_lines(title, out, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def at(done: int, total: int | None) -> None:
            if done == 0:
                bar.reset(task, total=total)
            bar.update(task, completed=done)

        yield at


def _byte_lines(title: str, out: Console, clock: Clock) -> AtBytes:
    due = now_and_then(clock)

    def at(done: int, total: int | None) -> None:
        if due():
            of = "" if total is None else f" of {size(total)}"
            out.print(f"{title}: {size(done)}{of}", highlight=False)

    return at


def now_and_then(clock: Clock) -> Callable[[], bool]:
    """Returns what says whether a line is due: every ten seconds, and not at once."""
    said = clock()

    def due() -> bool:
        nonlocal said
        if clock() - said < EVERY_S:
            return False
        said = clock()
        return True

    return due


def counted(at: At, clock: Clock = time.monotonic) -> Callable[[], None]:
    """Returns what is called after each image, for work that does not count them itself."""
    done, begun = 0, clock()

    def advance() -> None:
        nonlocal done
        done += 1
        at(done, done / max(clock() - begun, 1e-9))

    return advance


def pace(left: int, images_per_s: float) -> str:
    """Writes how fast it goes and for how long, e.g. `2,000 images/s, about 3s left`; nothing if that is not known."""
    return f"{rate(images_per_s)} images/s, about {duration(left / images_per_s)} left" if images_per_s else ""


def _lines(title: str, total: int, out: Console, clock: Clock) -> At:
    due = now_and_then(clock)

    def at(done: int, speed: float) -> None:
        if due():
            words = filter(None, [f"{title}: {done:,} of {total:,} images", pace(total - done, speed)])
            out.print(", ".join(words), soft_wrap=True)

    return at
