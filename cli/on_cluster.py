"""`--address` of commands that are one process: the same command line is executed on a node of a cluster."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from coretune_cli.output import note

if TYPE_CHECKING:
    from coretune.cluster.guest import Chunk

ADDRESS = "--address"
LOCAL = (None, "", "local")
PASSED = ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CORETUNE_DEBUG", "LANG", "LC_ALL", "COLUMNS")
"""Variables of this terminal that count where the command is executed."""


def elsewhere(
    command: typer.Context,
    address: str | None,
    *,
    device: str | None = None,
    outputs: Sequence[Path | None] = (),
    added: Sequence[str] = (),
    gpu: bool | None = None,
    everywhere: bool = False,
) -> int | None:
    """Executes this command line on a cluster and returns its exit code, or None where no address is given.

    Args:
        command: Its context.
        address: What `--address` or RAY_ADDRESS says.
        device: What `--device` says: `cpu` takes no GPU, another needs one.
        outputs: Files and directories that are written; the node must see where they lie.
        added: Further words for it.
        gpu: Whether a GPU is needed, where there is no `--device`; None: one is taken where some node has one.
        everywhere: Whether on each node, one after the other.

    Raises:
        RequestError: The address is wrong.
        UnfitError: No cluster answers, or no node of it fits.
    """
    if address in LOCAL:
        return None
    from coretune.cluster.command import execute
    from coretune.cluster.guest import STREAMS, Screen

    size = shutil.get_terminal_size()
    screen = Screen(
        frozenset(name for name in STREAMS if getattr(sys, name).isatty()),
        size.columns,
        size.lines,
        {name: os.environ[name] for name in PASSED if name in os.environ},
    )
    return execute(
        [*without_address(command.find_root().obj), *added],
        str(address),
        folder=Path.cwd(),
        shared=[parent for path in outputs if path is not None and (parent := above(path)) is not None],
        screen=screen,
        write=_write,
        note=note,
        gpu=device.partition(":")[0] != "cpu" if device is not None else gpu,
        everywhere=everywhere,
    )


def without_address(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line without `--address` and its value."""
    kept, rest = [], iter(words)
    for word in rest:
        if word == "--":
            kept += [word, *rest]
        elif word == ADDRESS:
            next(rest, None)
        elif not word.startswith(f"{ADDRESS}="):
            kept.append(word)
    return kept


def above(path: Path) -> Path | None:
    """Returns the nearest directory of a path that exists; None if the working directory is it, or above the path."""
    path, here = Path(os.path.normpath(path.absolute())), Path.cwd()
    if path.is_relative_to(here):
        return None
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def _write(chunk: Chunk) -> None:
    name, content = chunk
    stream = sys.stdout if name == "stdout" else sys.stderr
    stream.flush()
    stream.buffer.write(content)
    stream.buffer.flush()
