"""The `coretune` command: its groups, and how errors become messages and exit codes.

Exit codes: 0 done, 1 some run failed or some cell lacks its data, 2 the request is wrong, 3 the environment is not fit,
130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer
from typer.main import get_command

import coretune
from coretune.errors import CoretuneError, DeadClusterError
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune_cli.output import discard

GROUPS = ("study", "leaderboard", "data", "checkpoint", "robust", "domains", "segment", "cluster")
COMMANDS = ("tune", "pretrain", "doctor")
"""Modules of this package by the first word of a line: with a group `app`, or a command of the module's name."""

UNFIT = 3
DEBUG = "--debug"
WRITERS = ("typer", "rich", "coretune_cli")
"""Packages that write to the streams: a pipe that breaks elsewhere is an error."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"coretune {coretune.__version__}")
        raise typer.Exit


def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error; anywhere on the line, or CORETUNE_DEBUG=1.")
    ] = False,
) -> None:
    """Fine-tune self-supervised vision models, and know what works."""


def make_app(first: str | None = None) -> typer.Typer:
    """Returns the command with all of its groups, or with that alone which a line begins with.

    To import all of them takes as long as most commands do by themselves.

    Args:
        first: The first word of the line; of no group or command, e.g. an option, all are there.
    """
    app = typer.Typer(
        name="coretune",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(epilog="A first study, on real images, in minutes: coretune study run quickstart")(about)
    known = (*GROUPS, *COMMANDS)
    for name in (first,) if first in known else known:
        module = import_module(f"coretune_cli.{name}")
        if name in GROUPS:
            app.add_typer(module.app)
        else:
            app.command(name)(getattr(module, name))
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code.

    Args:
        arguments: The words after `coretune`; default: those of the process.
    """
    words, debug = without_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        code = run(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if _reader_left(error):
            discard(sys.stdout)
            return 0
        if debug:
            traceback.print_exc()
        message, code = explain(error)
        if message and not debug:
            print(message, file=sys.stderr)
        if isinstance(error, DeadClusterError):
            end_at_once(code)
        return code


def end_at_once(code: int) -> None:
    """Ends this process without Python's and Ray's own ends, which would wait for a cluster that is dead."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def run(words: Sequence[str]) -> int:
    """Runs a command line and returns what its command said, 0 if nothing. Errors are raised.

    The words are the root context's object: a command that is executed on a cluster passes them on.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot write τ or ━ gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        command = get_command(make_app(next(iter(words), None)))
        result = command.main(args=list(words), prog_name="coretune", standalone_mode=False, obj=tuple(words))
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer and Rich exit with 1 then, whoever broke the pipe
            raise end.__context__ from None
        raise
    return result if isinstance(result, int) else 0


def without_debug(words: Sequence[str]) -> tuple[list[str], bool]:
    """Returns the words without `--debug`, which may stand before or after the subcommand, and whether it was there."""
    words = list(words)
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != DEBUG] + words[end:]
    return kept, len(kept) < len(words) or os.environ.get("CORETUNE_DEBUG", "") not in ("", "0")


def explain(error: Exception) -> tuple[str, int]:
    """Returns the message and the exit code of an error."""
    if isinstance(error, CoretuneError):
        return f"coretune: {error}", error.exit_code
    if isinstance(error, typer.Abort):
        return "", INTERRUPTED
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return _usage_message(error), int(error.exit_code)
    if isinstance(error, ImportError):
        return f"coretune: cannot import {error.name or error}: {error}; `coretune doctor` says what is missing", UNFIT
    if isinstance(error, OSError):
        return f"coretune: {error.filename or 'system'}: {error.strerror or error}", UNFIT
    where = f"{type(error).__name__}: {str(error).partition(os.linesep)[0]}"
    return f"coretune: internal error, {where}\nPlease report it with what {DEBUG} shows.", 1


def _reader_left(error: Exception) -> bool:
    """Returns whether an error means that nobody reads our output any more (`| head`)."""
    if not isinstance(error, BrokenPipeError):
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] in (*WRITERS, __name__)


def _usage_message(error: Exception) -> str:
    """Returns what Typer says of a wrong command line, and where the right ones are described."""
    said = str(getattr(error, "format_message")()).strip()  # noqa: B009 - Typer's errors share no public class
    context = getattr(error, "ctx", None)
    if not said:
        return ""
    command = context.command_path if context is not None else "coretune"
    said = _wrong_value(error) or " ".join(said.split())
    return f"coretune: {said[:1].lower()}{said[1:]}\nTry `{command} --help`."


def _wrong_value(error: Exception) -> str:
    """Returns what is wrong with an option's value, in the words of study files; empty if it is something else."""
    param, details = getattr(error, "param", None), getattr(error.__cause__, "errors", None)
    if param is None or details is None:
        return ""
    from coretune.spec.wording import Spot, describe

    name = max(param.opts, key=len) if param.opts[0].startswith("-") else param.human_readable_name
    text = describe(details(), Spot((), None, None))
    choice = re.fullmatch(r"('.*') is not one of (.*)\.", text)
    return (
        f"{name}: {text}"
        if choice is None
        else f"{name}: must be one of {choice[2].replace(chr(39), '')}, got {choice[1]}"
    )


if __name__ == "__main__":
    sys.exit(main())
