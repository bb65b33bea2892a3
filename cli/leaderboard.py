"""`coretune leaderboard`: the results of a study, as a table to read or a file to keep."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coretune_cli.arguments import JsonOption, ResultsArgument
from coretune_cli.output import console, note, show, show_json, show_text
from coretune_cli.places import find_results

if TYPE_CHECKING:
    from coretune.report.leaderboard import Leaderboard

app = typer.Typer(
    name="leaderboard", help="Records, aggregated: show them, or write them to a file.", no_args_is_help=True
)


class Format(StrEnum):
    """What a leaderboard can be written as."""

    csv = "csv"
    md = "md"
    tex = "tex"
    json = "json"


FormatOption = Annotated[
    Format | None, typer.Option("--format", "-f", help="Default: by the ending of --output, else csv.")
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; default: stdout.")]


@app.command("show")
def show_command(results: ResultsArgument = None, as_json: JsonOption = False) -> int:
    """Show the leaderboard of a study, finished or not."""
    leaderboard = load(results)
    if as_json:
        from coretune.report.export import to_dict

        show_json(to_dict(leaderboard))
    else:
        show_leaderboard(leaderboard)
    return 0


@app.command("export")
def export_command(results: ResultsArgument = None, form: FormatOption = None, output: OutputOption = None) -> int:
    """Write the leaderboard as CSV (all columns), Markdown, LaTeX or JSON."""
    from coretune.report import export, typeset
    from coretune.results.files import put_atomic

    endings = {".md": Format.md, ".markdown": Format.md, ".tex": Format.tex, ".json": Format.json}
    chosen = form or endings.get(output.suffix.lower() if output is not None else "", Format.csv)
    write = {
        Format.csv: export.to_csv,
        Format.md: typeset.to_markdown,
        Format.tex: typeset.to_latex,
        Format.json: export.to_json,
    }
    text = write[chosen](load(results))
    if output is None:
        show_text(text)
    else:
        put_atomic(output, text.encode())
        note(f"written: {output}")
    return 0


def load(results: str | None) -> Leaderboard:
    """Computes the leaderboard of a results directory, and says which where it was chosen for want of an argument.

    Raises:
        RequestError: There is no such directory.
        StorageError: Its files cannot be read.
    """
    from coretune.report.leaderboard import build
    from coretune.results.store import ResultsStore

    folder, chosen = find_results(results)
    if chosen:
        note(f"{folder}, the newest results", style="dim")
    return build(ResultsStore(folder))


def show_leaderboard(leaderboard: Leaderboard) -> None:
    """Prints a leaderboard as a table."""
    from coretune_cli.board import board

    show(board(leaderboard, console().width))
