"""Shows a study while it runs: a live screen on a terminal, plain lines elsewhere.

The study never depends on it: what goes wrong here is logged, the screen gives way to plain lines, and those to
silence.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live

from coretune_cli.formats import clock
from coretune_cli.output import console
from coretune_cli.screen import render, summary
from coretune_cli.state import Event, StudyState, parse_state

Snapshot = Callable[[], dict[str, Any]]
SCREEN_S = 0.25
LINES_S = 0.5
PROGRESS_S = 10.0
GIVE_BACK = "\x1b[0m\x1b[?25h\n"
"""Plain style, the cursor, and a line of its own for what is said next."""

_log = logging.getLogger("coretune.screen")
_log.addHandler(logging.NullHandler())


class View(Protocol):
    """One way to show a study."""

    period_s: float

    def open(self) -> None:
        """Begins."""

    def show(self, state: StudyState) -> None:
        """Shows a state."""

    def close(self, state: StudyState | None, *, failed: bool = False) -> None:
        """Ends, with the last state, if there was any.

        Where it failed, an error follows that says so: how far it came is told if it came anywhere.
        """


class ScreenView:
    """The live screen."""

    period_s = SCREEN_S

    def __init__(self, out: Console) -> None:
        self.out = out
        self.live = Live(console=out, auto_refresh=False, transient=True, vertical_overflow="crop")

    def open(self) -> None:
        """Takes the lower part of the terminal."""
        self.live.start()

    def show(self, state: StudyState) -> None:
        """Draws a state, one line less than the terminal has, so that nothing scrolls."""
        width, height = self.out.size
        self.live.update(render(state, width=width, height=max(4, height - 1)), refresh=True)

    def close(self, state: StudyState | None, *, failed: bool = False) -> None:
        """Gives the terminal back, and leaves one line that says how it ended."""
        self.live.stop()
        if state is not None and (state.runs.done or not failed):
            self.out.print(f"{state.study} {summary(state)}", soft_wrap=True)


class LinesView:
    """Plain lines: each event once, and a line of progress every ten seconds."""

    period_s = LINES_S

    def __init__(self, write: Callable[[str], None], *, progress_s: float = PROGRESS_S) -> None:
        self.write = write
        self.every = max(1, round(progress_s / LINES_S))
        self.calls = 0
        self.seen: tuple[Event, ...] = ()
        self.last = ""

    def open(self) -> None:
        """Does nothing."""

    def show(self, state: StudyState) -> None:
        """Writes what is new."""
        self._events(state)
        self.calls += 1
        if self.calls % self.every == 0:
            self._progress(state)

    def close(self, state: StudyState | None, *, failed: bool = False) -> None:
        """Writes what is still unsaid, and where the study stands."""
        if state is not None:
            self._events(state)
            if state.runs.done or not failed:
                self._progress(state)

    def _events(self, state: StudyState) -> None:
        for event in unseen(self.seen, state.events):
            mark = "" if event.level == "info" else f"{event.level}: "
            self.write(f"{clock(event.time)}  {mark}{event.text}")
        self.seen = state.events

    def _progress(self, state: StudyState) -> None:
        line = summary(state)
        if line != self.last:
            self.write(f"{clock(state.updated)}  {line}")
        self.last = line


def unseen(before: Sequence[Event], now: Sequence[Event]) -> list[Event]:
    """Returns the events that are new in a list that keeps the newest only, newest last."""
    for overlap in range(min(len(before), len(now)), 0, -1):
        if tuple(before[-overlap:]) == tuple(now[:overlap]):
            return list(now[overlap:])
    return list(now)


class Watcher:
    """A thread that shows snapshots of a study until it is told to stop.

    It catches every exception, because nothing that goes wrong on a screen may stop a study.
    """

    def __init__(self, snapshot: Snapshot, views: Sequence[View]) -> None:
        self.snapshot = snapshot
        self.views = list(views)
        self.state: StudyState | None = None
        self.complained: set[str] = set()
        self.failed = False
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="coretune-screen", daemon=True)

    def start(self) -> None:
        """Starts showing."""
        self.thread.start()

    def stop(self, *, failed: bool = False) -> None:
        """Shows the last state and ends; waits a moment only, in case the terminal is stuck.

        Args:
            failed: An error follows on the screen.
        """
        self.failed = failed
        self.stopped.set()
        self.thread.join(timeout=5.0)

    def _run(self) -> None:
        while self.views and not self._shown(self.views[0]):
            del self.views[0]

    def _shown(self, view: View) -> bool:
        """Returns whether a view lasted to the end; what broke it is logged."""
        try:
            view.open()
        except Exception:
            _log.exception("the screen cannot start; going on plainly")
            return False
        try:
            while not self.stopped.wait(view.period_s):
                self._look()
                if self.state is not None:
                    view.show(self.state)
        except Exception:
            _log.exception("the screen failed; going on plainly")
            self._close(view, None)
            return False
        self._look()
        return self._close(view, self.state)

    def _look(self) -> None:
        """Takes a snapshot; one that fails leaves the old one on the screen."""
        try:
            self.state = parse_state(self.snapshot())
        except Exception as error:
            if str(error) not in self.complained:
                _log.exception("no snapshot of the study")
            self.complained.add(str(error))

    def _close(self, view: View, state: StudyState | None) -> bool:
        try:
            view.close(state, failed=self.failed)
        except Exception:
            _log.exception("the screen cannot end cleanly")
            return False
        return True


def views_of(out: Console) -> list[View]:
    """Returns the ways to show a study on a stream, best first: a screen needs a terminal that can move its cursor."""
    lines = LinesView(lambda line: out.print(line, soft_wrap=True))
    return [ScreenView(out), lines] if has_screen(out) else [lines]


def has_screen(out: Console) -> bool:
    """Returns whether a stream is a terminal that can move its cursor."""
    return out.file.isatty() and not out.is_dumb_terminal


@contextmanager
def observe(snapshot: Snapshot) -> Iterator[None]:
    """Shows a study on stderr while the block runs. The engine enters it around the whole study.

    Args:
        snapshot: Returns the value of `state.json`, at any time, from any thread.
    """
    watcher = Watcher(snapshot, views_of(console(stderr=True)))
    watcher.start()
    failed = True
    try:
        yield
        failed = False
    finally:
        watcher.stop(failed=failed)
        sys.stderr.flush()


def last_line(text: str) -> Callable[[], None]:
    """Returns what gives the terminal back and says one last line, in the moment before the process is ended.

    It may be called in a signal handler, while the screen is drawn: streams have locks, which the interrupted code may
    hold, and a terminal may be stopped (Ctrl-S). So it writes past the stream, and only if that takes text right now.
    """
    given_back = GIVE_BACK if has_screen(console(stderr=True)) else ""

    def say() -> None:
        with suppress(OSError, ValueError):
            descriptor = sys.stderr.fileno()
            if select.select([], [descriptor], [], 0)[1]:
                os.write(descriptor, f"{given_back}{text}\n".encode(errors="replace"))

    return say
