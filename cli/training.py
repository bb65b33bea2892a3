"""Shows one training while it runs: a bar on a terminal, elsewhere lines; each evaluated epoch stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from coretune_cli.formats import duration, rate, score
from coretune_cli.live import has_screen

if TYPE_CHECKING:
    from coretune.tuning.loop import EpochReport, Tick

    Event = Tick | EpochReport

LINES_S = 30.0
"""Seconds between two lines where there is no bar and no epoch is evaluated."""


class TrainingView:
    """Follows a training; entered while it runs.

    Args:
        out: Where it is shown.
        clock: Seconds, for the pace of lines.
    """

    def __init__(self, out: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from coretune.runs.speed import Speed

        self.out = out
        self.clock = clock
        self.speed = Speed()
        self.total = 0
        self.epochs = 0
        self.said = clock()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        self.bar = Progress(*columns, console=out, transient=True, disable=not has_screen(out))
        self.task = self.bar.add_task("", total=None, text="", visible=False)

    def __enter__(self) -> Self:
        """Takes a line of the terminal."""
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Gives it back."""
        self.bar.stop()

    def begin(self, title: str, epochs: int, images: int) -> None:
        """Notes what is trained: a title, how many epochs, of how many images each."""
        self.total, self.epochs = epochs * images, epochs
        self.bar.update(self.task, description=title, total=self.total, visible=True)

    def follow(self, event: Event) -> None:
        """Takes an event."""
        metrics = getattr(event, "metrics", None)
        where = self._where(event, whole=metrics is not None)
        self.bar.update(self.task, completed=event.images, text=where)
        if metrics is not None:
            loss = event.train.get("loss")  # type: ignore[union-attr]
            figures = "".join(f"  {name} {score(value, name)}" for name, value in metrics.items())
            self._say(f"epoch {event.epoch}/{self.epochs}  loss {score(loss, 'cross_entropy')}{figures}")
        elif self.bar.disable and self.clock() - self.said >= LINES_S:
            self._say(where)

    def _where(self, event: Event, *, whole: bool) -> str:
        """Writes where a training stands: `epoch 3/200, 1,234 images/s, about 2h05m left`."""
        speed = self.speed.after(event)
        left = (self.total - event.images) / speed if speed > 0 else None
        epoch = event.epoch if whole else event.epoch + 1
        return f"epoch {min(epoch, self.epochs)}/{self.epochs}, {rate(speed)} images/s, about {duration(left)} left"

    def _say(self, line: str) -> None:
        self.out.print(line, soft_wrap=True)
        self.said = self.clock()
