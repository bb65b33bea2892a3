from __future__ import annotations

import io
import logging
import os
import pty
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from coretune_cli.live import LinesView, ScreenView, Watcher, observe, unseen, views_of
from coretune_cli.state import Event, StudyState, parse_state


def an_event(number: int) -> Event:
    return Event("2026-11-24T12:00:00+00:00", "info", str(number))


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 8), st.lists(st.integers(0, 9), max_size=20))
def test_each_event_is_said_once_unless_it_was_dropped(levels: list[int], kept: int, arrivals: list[int]) -> None:
    """A list of the newest `kept` events is looked at from time to time; numbers are unique."""
    said: list[Event] = []
    before: list[Event] = []
    everything: list[Event] = []
    for arrived in arrivals:
        everything += [an_event(len(everything) + number) for number in range(arrived)]
        now = everything[-kept:]
        said += unseen(before, now)
        before = now
    assert [event.text for event in said] == sorted({event.text for event in said}, key=int)
    if all(arrived <= kept for arrived in arrivals):
        assert said == everything


def test_plain_lines(quick: dict[str, Any]) -> None:
    said: list[str] = []
    view = LinesView(said.append, progress_s=1.0)
    view.open()
    for step in range(4):
        quick["events"] += [{"time": quick["updated"], "level": "error", "text": f"event {step}"}]
        quick["runs"]["done"] = 11 + step
        view.show(parse_state(quick))
    view.close(parse_state(quick))
    assert said == [
        "12:01:00  digits--ce--moco_small: trial 4 chosen, 76.5 on validation",
        "12:01:05  warning: digits--core_tuning--moco_small trial 2 [bold]diverged[/] at epoch 3",
        "12:01:12  error: event 0",
        "12:01:12  error: event 1",
        *[line for line in said if " 12 of 29" in line],
        "12:01:12  error: event 2",
        "12:01:12  error: event 3",
        *[line for line in said if " 14 of 29" in line],
    ]
    assert len([line for line in said if "runs done" in line]) == 2


def test_progress_is_said_every_ten_seconds(quick: dict[str, Any]) -> None:
    said: list[str] = []
    view = LinesView(said.append)
    for tick in range(60):
        quick["elapsed_s"] = tick * view.period_s
        view.show(parse_state({**quick, "events": []}))
    assert len(said) == 3


def test_without_a_terminal_there_are_plain_lines_only(
    capsys: pytest.CaptureFixture[str], quick: dict[str, Any]
) -> None:
    with observe(lambda: quick):
        pass
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "12:01:00  digits--ce--moco_small: trial 4 chosen, 76.5 on validation"
    assert "searching: 11 of 29 runs done" in said.err.splitlines()[-1]
    assert "\x1b" not in said.err


class Broken:
    """A view that fails at some point."""

    period_s = 0.01

    def __init__(self, where: str) -> None:
        self.where = where

    def _maybe(self, here: str) -> None:
        if here == self.where:
            raise RuntimeError(f"broken at {here}")

    def open(self) -> None:
        self._maybe("open")

    def show(self, state: StudyState) -> None:
        self._maybe("show")

    def close(self, state: StudyState | None, *, failed: bool = False) -> None:
        self._maybe("close")


@pytest.mark.parametrize("where", ["open", "show", "close"])
def test_a_broken_screen_gives_way_to_plain_lines(
    where: str, quick: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    lines = LinesView(said.append)
    lines.period_s = 0.01
    watcher = Watcher(lambda: quick, [Broken(where), lines])
    with caplog.at_level(logging.ERROR, logger="coretune.screen"):
        watcher.start()
        time.sleep(0.1)
        watcher.stop()
    assert not watcher.thread.is_alive()
    assert "screen" in caplog.text and f"broken at {where}" in caplog.text
    assert said and "runs done" in said[-1]


def test_everything_broken_is_silent(quick: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    watcher = Watcher(lambda: quick, [Broken("show"), Broken("show")])
    watcher.start()
    watcher.thread.join(timeout=5)
    assert not watcher.thread.is_alive()
    watcher.stop()


def test_a_snapshot_that_fails_leaves_the_last_one(quick: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    calls = iter([quick])
    lines = LinesView(said.append)
    lines.period_s = 0.01
    watcher = Watcher(lambda: next(calls), [lines])
    watcher.start()
    time.sleep(0.1)
    watcher.stop()
    assert "runs done" in said[-1]
    assert caplog.text.count("no snapshot") == 1


def test_the_study_goes_on_when_the_block_raises(quick: dict[str, Any]) -> None:
    with pytest.raises(KeyError), observe(lambda: quick):
        raise KeyError("the study's own error")
    assert not [thread for thread in threading.enumerate() if thread.name == "coretune-screen"]


@pytest.mark.parametrize(("done", "lines"), [(0, 0), (3, 1)])
def test_a_study_that_fails_before_its_first_run_leaves_the_last_word_to_the_error(
    quick: dict[str, Any], done: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    quick["runs"]["done"] = done
    state = parse_state({**quick, "events": [], "phase": "interrupted"})
    said: list[str] = []
    LinesView(said.append).close(state, failed=True)
    out = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None)
    ScreenView(out).close(state, failed=True)
    assert isinstance(out.file, io.StringIO)
    assert len(said) == lines and out.file.getvalue().count("interrupted") == lines
    with pytest.raises(KeyError), observe(lambda: quick):
        raise KeyError("the study's own error")
    assert capsys.readouterr().err.count("runs done") == lines


def test_the_screen_draws_and_clears(quick: dict[str, Any]) -> None:
    out = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None)
    view = ScreenView(out)
    view.open()
    view.show(parse_state(quick))
    view.close(parse_state({**quick, "phase": "done"}))
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert "core_tuning" in text and text.endswith("done: 11 of 29 runs done, 2 running, 1 failed, 1m12s elapsed\n")
    assert "\x1b[?25l" in text and "\x1b[?25h" in text  # the cursor is hidden, and given back


def test_a_dumb_terminal_gets_lines() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    fine = Console(file=Terminal(), force_terminal=True, _environ={"TERM": "xterm-256color"})
    dumb = Console(file=Terminal(), force_terminal=True, _environ={"TERM": "dumb"})
    assert [type(view) for view in views_of(fine)] == [ScreenView, LinesView]
    assert [type(view) for view in views_of(dumb)] == [LinesView]


PROGRAM = """
import sys, time
sys.path.insert(0, {folder!r})
from conftest import quick_state
from coretune_cli.live import observe
with observe(quick_state):
    time.sleep(0.8)
    print("stray")
    time.sleep(0.4)
print("RESULT")
"""


def read_terminal(process: subprocess.Popen[bytes], primary: int) -> bytes:
    """Returns what a process writes to a terminal until it ends."""
    seen = b""
    while process.poll() is None or select.select([primary], [], [], 0)[0]:
        if select.select([primary], [], [], 0.1)[0]:
            try:
                seen += os.read(primary, 65536)
            except OSError:
                break
    return seen


def test_on_a_real_terminal_results_stay_clean() -> None:
    """stderr is a terminal, stdout a pipe: the pipe holds the results and nothing else."""
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(folder=str(Path(__file__).parent))],
        stdout=subprocess.PIPE,
        stderr=secondary,
        env=environment,
    )
    os.close(secondary)
    seen = read_terminal(process, primary)
    assert process.stdout is not None
    out = process.stdout.read()
    process.stdout.close()
    os.close(primary)
    assert process.wait() == 0
    assert out == b"RESULT\n"
    assert b"core_tuning" in seen and b"stray" in seen and b"RESULT" not in seen


ABORTED = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
from conftest import quick_state
from coretune.runs.interrupt import interruptible
from coretune_cli.live import last_line, observe
def kill():
    os.kill(os.getpid(), signal.SIGINT)
with observe(quick_state), interruptible(lambda reason: None, on_abort=last_line("go on with: resume")):
    time.sleep(0.8)
    {before}
    kill()
    kill()
    time.sleep(60)
"""


def aborted(stderr: int, term: str, before: str = "pass") -> subprocess.Popen[bytes]:
    """Starts a program that shows a study and is interrupted twice."""
    program = ABORTED.format(folder=str(Path(__file__).parent), before=before)
    environment = {**os.environ, "TERM": term, "COLUMNS": "80", "LINES": "24"}
    return subprocess.Popen([sys.executable, "-c", program], stderr=stderr, env=environment)


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_ctrl_c_twice_gives_the_terminal_back_and_says_how_to_go_on(term: str) -> None:
    primary, secondary = pty.openpty()
    process = aborted(secondary, term)
    os.close(secondary)
    seen = read_terminal(process, primary)
    os.close(primary)
    assert process.wait() == 130
    assert b"core_tuning" in seen and b"go on with: resume" in seen
    assert seen.count(b"\x1b[?25l") == seen.count(b"\x1b[?25h") == (1 if term != "dumb" else 0)
    if term != "dumb":
        assert seen.rindex(b"\x1b[?25h") < seen.rindex(b"go on with: resume")


def test_a_stuck_reader_does_not_hold_up_ctrl_c() -> None:
    """stderr is a pipe that is full and that nobody reads."""
    reader, writer = os.pipe()
    full = "os.set_blocking(2, False)\n    try:\n        while os.write(2, b'x' * 4096): pass\n"
    full += "    except BlockingIOError: os.set_blocking(2, True)"
    process = aborted(writer, "xterm", before=full)
    os.close(writer)
    try:
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.wait()
        os.close(reader)
