"""Where text goes: results to stdout, progress and notes to stderr. A reader who goes away is no error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console, RenderableType

PIPED_WIDTH = 140


class QuietConsole(Console):
    """A console that goes silent, and lets the command finish, when nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """Sends the rest to nowhere."""
        self.quiet = True
        discard(sys.stderr if self.stderr else sys.stdout)


def console(*, stderr: bool = False) -> Console:
    """Returns the console of a stream. Its strings are literal: a study's label may look like markup.

    Tables that go to a file or a pipe are as wide as a wide terminal, unless COLUMNS says otherwise.
    """
    stream = sys.stderr if stderr else sys.stdout
    piped = not stream.isatty() and "COLUMNS" not in os.environ
    return QuietConsole(
        stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False, width=PIPED_WIDTH if piped else None
    )


def show(*parts: RenderableType) -> None:
    """Prints results."""
    out = console()
    for part in parts:
        out.print(part)


def note(text: str, style: str | None = None) -> None:
    """Prints a note for the person who waits, unwrapped, so that paths can be copied."""
    console(stderr=True).print(text, style=style, soft_wrap=True)


def show_text(text: str) -> None:
    """Writes text to stdout as it is."""
    try:
        sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)


def show_json(value: Any) -> None:
    """Prints one JSON value, and nothing else, on stdout; numbers that are not finite become null."""
    show_text(json.dumps(finite(value), indent=2, ensure_ascii=False, default=str))


def show_json_line(value: Any) -> None:
    """Prints one JSON value on a line of its own."""
    show_text(json.dumps(finite(value), ensure_ascii=False, default=str))


def finite(value: Any) -> Any:
    """Returns a copy of a JSON value in which NaN and infinities are None: JSON has no word for them."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def discard(stream: TextIO) -> None:
    """Points a stream whose reader is gone at nowhere, so that the interpreter's last flush is quiet too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
