"""`coretune study logs`: the end of a run's log."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from coretune.errors import RequestError, StorageError
from coretune_cli.arguments import JobAddressOption, OutOption
from coretune_cli.jobs import job_logs
from coretune_cli.output import note, show_text
from coretune_cli.places import find_run

LinesOption = Annotated[int, typer.Option("--lines", "-n", min=0, help="So many lines; 0: all.")]


def logs(
    run_id: Annotated[
        str,
        typer.Argument(metavar="RUN_ID", help="A run's id, its beginning, or its folder; with --address a job's id."),
    ],
    lines: LinesOption = 50,
    out: OutOption = None,
    address: JobAddressOption = None,
) -> int:
    """Print the end of a run's log, or follow the output of a submitted study."""
    if address is not None:
        return job_logs(address, run_id, lines)
    place = find_run(run_id, out)
    path = place.folder / "log.txt"
    text = tail(path, lines)
    if text is None:
        raise RequestError(f"run {place.run_id} in {place.results} has no log: {path} does not exist")
    note(str(path), style="dim")
    show_text(text)
    return 0


def tail(path: Path, lines: int) -> str | None:
    """Returns the last lines of a file (0: all), or None if there is no such file.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines or None))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
