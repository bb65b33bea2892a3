"""A command line executed on the node that holds this actor, as a process of its own; its output is asked for."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import coretune

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
Chunk = tuple[Stream, bytes]

WAIT_S = 0.5
"""How long an answer waits for output."""
BLOCK = 1 << 16
START = """
import os, signal, sys, threading, time
signal.pthread_sigmask(signal.SIG_SETMASK, ())
signal.signal(signal.SIGINT, signal.default_int_handler)
above = os.getppid()
def leave():
    while os.getppid() == above:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=leave, daemon=True).start()
from coretune_cli.main import main
sys.exit(main())
"""
"""The command, which stores its state and ends once the process that started it is gone: a driver was killed.

Ray's threads block signals, and its processes ignore SIGINT: a process inherits both.
"""


@dataclass(frozen=True)
class Screen:
    """Where the output is shown.

    Attributes:
        terminals: Which of the streams are terminals.
        columns: Of the terminal.
        lines: Of the terminal.
        variables: Of the environment: what kind of terminal it is, and what its user wants.
    """

    terminals: frozenset[Stream] = frozenset()
    columns: int = 80
    lines: int = 24
    variables: Mapping[str, str] = field(default_factory=dict)


class Guest:
    """The process of a command line.

    Args:
        words: The words after `coretune`.
        folder: The working directory.
        screen: Where its output is shown.
    """

    def __init__(self, words: Sequence[str], folder: str, screen: Screen) -> None:
        self._output: queue.Queue[tuple[Stream, bytes | None]] = queue.Queue()
        ends = {name: _pair(name in screen.terminals, screen) for name in STREAMS}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, *words],
                cwd=folder,
                env=_environment(screen),
                stdin=subprocess.DEVNULL,
                stdout=ends["stdout"][1],
                stderr=ends["stderr"][1],
                start_new_session=True,
            )
        finally:
            for _, theirs in ends.values():
                os.close(theirs)
        self._open = len(ends)
        for name, (ours, _) in ends.items():
            threading.Thread(target=self._copy, args=(name, ours), daemon=True).start()

    def pid(self) -> int:
        """Returns the id of the process: it has begun."""
        return self._process.pid

    def read(self) -> tuple[list[Chunk], int | None]:
        """Returns what was written since the last call, after a moment at most, and the exit code with the last of it.

        The code of a process that a signal ended is that of a shell, 128 and the signal's number.
        """
        chunks: list[Chunk] = []
        deadline = time.monotonic() + WAIT_S
        while self._open:
            try:
                name, content = self._output.get(timeout=0 if chunks else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return chunks, None
            if content is None:
                self._open -= 1
            else:
                chunks.append((name, content))
        code = self._process.wait()
        return chunks, code if code >= 0 else 128 - code

    def interrupt(self) -> None:
        """Does to the process what Ctrl-C would."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def _copy(self, name: Stream, end: int) -> None:
        with open(end, "rb", buffering=0) as stream:
            while content := _content(stream.fileno()):
                self._output.put((name, content))
        self._output.put((name, None))


def _content(end: int) -> bytes:
    try:
        return os.read(end, BLOCK)
    except OSError:  # the last process has closed its side of a terminal
        return b""


def _pair(terminal: bool, screen: Screen) -> tuple[int, int]:
    """Returns two ends: what is read from, and what the process writes to."""
    if not terminal:
        return os.pipe()
    import termios
    import tty

    ours, theirs = os.openpty()
    tty.setraw(theirs)  # the terminal that shows it translates line ends
    termios.tcsetwinsize(theirs, (screen.lines, screen.columns))
    return ours, theirs


def _environment(screen: Screen) -> dict[str, str]:
    """Returns the process's environment: no word of this node's Ray, and this coretune before any other."""
    root = str(Path(coretune.__file__).resolve().parent.parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = [root, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, **screen.variables, "PYTHONPATH": os.pathsep.join(path)}
