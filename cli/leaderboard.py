"""`coretune leaderboard`: the results of a study, as a table to read or a file to keep."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coretune.errors import RequestError
from coretune_cli.arguments import JsonOption, ResultsArgument
from coretune_cli.output import console, note, show, show_json, show_text
from coretune_cli.places import find_results
from coretune_cli.segment_runs import picture_command

if TYPE_CHECKING:
    from coretune.report.contrasts import Contrasts
    from coretune.report.domains import DomainTable
    from coretune.report.leaderboard import Leaderboard
    from coretune.results.store import ResultsStore

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
ContrastFormatOption = Annotated[
    Format | None, typer.Option("--format", "-f", help="Default: by the ending of --output, else a table to read.")
]
FirstArgument = Annotated[str, typer.Argument(help="A results directory, or the name of a study.")]
SecondArgument = Annotated[str, typer.Argument(help="Another one.")]
EvaluationsOption = Annotated[
    bool, typer.Option("--evaluations", help="The further evaluations of final runs alone; CSV, Markdown or LaTeX.")
]
FigureOption = Annotated[
    Path | None, typer.Option("--figure", help="Draw it: one objective against the other, by cell (png, svg, pdf).")
]
RepeatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--repeat",
        metavar="DIR",
        help="Results of the same study with another seed, and perhaps another split_seed: ± is over repeats of the "
        "whole search then. Repeatable.",
    ),
]
DomainFigureOption = Annotated[
    Path | None, typer.Option("--figure", help="Draw it: a panel per domain, and their average (png, svg, pdf).")
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; default: stdout.")]


@app.command("show")
def show_command(results: ResultsArgument = None, as_json: JsonOption = False) -> int:
    """Show the leaderboard of a study, finished or not."""
    from coretune.report.leaderboard import build

    store = open_results(results)
    leaderboard = build(store)
    if as_json:
        from coretune.report.export import to_dict

        show_json(to_dict(leaderboard))
    else:
        show_leaderboard(leaderboard)
        if (command := picture_command(store)) is not None:
            note(f"what it predicts, as a picture: {command}")
    return 0


@app.command("export")
def export_command(
    results: ResultsArgument = None,
    form: FormatOption = None,
    output: OutputOption = None,
    evaluations: EvaluationsOption = False,
) -> int:
    """Write the leaderboard as CSV (all columns), Markdown, LaTeX or JSON."""
    from coretune.report import export, typeset, typeset_evaluated

    chosen = _form(form, output) or Format.csv
    if evaluations and chosen is Format.json:
        raise RequestError("--evaluations is CSV, Markdown or LaTeX; --format json has them beside the scores")
    alone = {
        Format.csv: export.evaluations_to_csv,
        Format.md: typeset_evaluated.evaluations_to_markdown,
        Format.tex: typeset_evaluated.evaluations_to_latex,
    }
    write = {
        Format.csv: export.to_csv,
        Format.md: typeset.to_markdown,
        Format.tex: typeset.to_latex,
        Format.json: export.to_json,
    }
    leaderboard = load(results)
    if evaluations:
        _put(alone[chosen](leaderboard), output)
        return 0
    parts = [write[chosen](leaderboard)]
    if chosen in (Format.md, Format.tex):  # what people read; a CSV file has one kind of rows
        parts.append(alone[chosen](leaderboard))
    _put("\n".join(filter(None, parts)), output)
    return 0


@app.command("front")
def front_command(
    results: ResultsArgument = None,
    form: ContrastFormatOption = None,
    output: OutputOption = None,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show what the trials of a study of two objectives left on the validation part, and what was chosen."""
    from coretune.report import export
    from coretune.report.figure_file import check_format
    from coretune.report.front_figure import nothing, write_front

    if figure is not None:
        check_format(figure)
    leaderboard = load(results)
    if not leaderboard.front:
        raise RequestError(f"there is no front: {nothing(leaderboard)}")
    chosen = _asked(form, output, as_json)
    if chosen in (Format.md, Format.tex):
        raise RequestError("a front is written as csv or json; the leaderboard has its choices as md and tex")
    if chosen is None:
        from coretune_cli.front import front_view

        show(front_view(leaderboard, console().width))
    else:
        _put((export.front_to_csv if chosen is Format.csv else export.front_to_json)(leaderboard), output)
    if figure is not None:
        write_front(leaderboard, figure)
        note(f"written: {figure}")
    return 0


@app.command("contrasts")
def contrasts_command(
    results: ResultsArgument = None,
    form: ContrastFormatOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> int:
    """Judge the comparisons that the study planned, with correction for their number."""
    from coretune.report import export, typeset_contrasts

    contrasts = load_contrasts(results)
    chosen = _asked(form, output, as_json)
    write = {
        Format.csv: export.contrasts_to_csv,
        Format.md: typeset_contrasts.contrasts_to_markdown,
        Format.tex: typeset_contrasts.contrasts_to_latex,
        Format.json: export.contrasts_to_json,
    }
    if chosen is None:
        show_contrasts(contrasts)
    else:
        _put(write[chosen](contrasts), output)
    return 0


@app.command("domains")
def domains_command(
    results: ResultsArgument = None,
    form: ContrastFormatOption = None,
    output: OutputOption = None,
    figure: DomainFigureOption = None,
    repeat: RepeatOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show held-out domains as columns, with their average and the worst, of a study that leaves domains out."""
    from coretune.report.domain_repeats import build_repeated
    from coretune.report.domains import require, to_json
    from coretune.report.typeset_domains import domains_to_csv, domains_to_latex, domains_to_markdown

    store = open_results(results)
    table = require(store) if not repeat else build_repeated([store, *map(open_results, repeat)])
    if figure is not None:
        from coretune.report.domain_figure import write_domains

        write_domains(table, figure)
        note(f"written: {figure}")
    chosen = _asked(form, output, as_json)
    write = {
        Format.csv: domains_to_csv,
        Format.md: domains_to_markdown,
        Format.tex: domains_to_latex,
        Format.json: to_json,
    }
    if chosen is None:
        show_domains(table)
    else:
        _put(write[chosen](table), output)
    return 0


@app.command("compare")
def compare_command(
    first: FirstArgument,
    second: SecondArgument,
    form: ContrastFormatOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> int:
    """Lay two results directories side by side, cell by cell: the difference is second minus first."""
    from coretune.report import export, typeset_changes
    from coretune.report.compare import compare

    changes = compare(open_results(first), open_results(second))
    chosen = _asked(form, output, as_json)
    write = {
        Format.csv: export.changes_to_csv,
        Format.md: typeset_changes.changes_to_markdown,
        Format.tex: typeset_changes.changes_to_latex,
        Format.json: export.changes_to_json,
    }
    if chosen is None:
        from coretune_cli.changes import change_board

        show(change_board(changes, console().width))
    else:
        _put(write[chosen](changes), output)
    return 0


def _asked(form: Format | None, output: Path | None, as_json: bool) -> Format | None:
    """Returns the format of what goes to a file or another program; None is a table to read."""
    return Format.json if as_json else _form(form, output) or (Format.csv if output is not None else None)


def _form(form: Format | None, output: Path | None) -> Format | None:
    """Returns the format that was asked for, or that a file's ending means."""
    endings = {".md": Format.md, ".markdown": Format.md, ".tex": Format.tex, ".json": Format.json, ".csv": Format.csv}
    return form or endings.get(output.suffix.lower() if output is not None else "")


def _put(text: str, output: Path | None) -> None:
    """Writes text to a file, or to stdout."""
    from coretune.results.files import put_atomic

    if output is None:
        show_text(text)
    else:
        put_atomic(output, text.encode())
        note(f"written: {output}")


def load_contrasts(results: str | None) -> Contrasts:
    """Judges the planned contrasts of a results directory, and says which where it was chosen for want of an argument.

    Raises:
        RequestError: There is no such directory, or its study plans no contrasts.
        StorageError: Its files cannot be read.
    """
    from coretune.report.contrasts import build
    from coretune.report.study import read_study

    store = open_results(results)
    if (found := build(store)) is not None:
        return found
    asked = read_study(store)
    if asked.study is None:
        raise RequestError(f"no planned contrasts: {asked.problem}")
    methods, baseline = asked.study.methods, asked.study.baseline_label
    pairs = ", ".join(f"[{label}, {baseline}]" for label in methods if label != baseline)
    raise RequestError(
        f"the study {asked.name} plans no contrasts; write into its file, before it runs: "
        f"contrasts: {{pairs: [{pairs or '[METHOD, BASELINE]'}]}}"
    )


def load(results: str | None) -> Leaderboard:
    """Computes the leaderboard of a results directory, and says which where it was chosen for want of an argument.

    Raises:
        RequestError: There is no such directory.
        StorageError: Its files cannot be read.
    """
    from coretune.report.leaderboard import build

    return build(open_results(results))


def open_results(results: str | None) -> ResultsStore:
    """Opens a results directory, and says which where it was chosen for want of an argument.

    Raises:
        RequestError: There is no such directory.
    """
    from coretune.results.store import ResultsStore

    folder, chosen = find_results(results)
    if chosen:
        note(f"{folder}, the newest results", style="dim")
    return ResultsStore(folder)


def show_leaderboard(leaderboard: Leaderboard) -> None:
    """Prints a leaderboard as a table."""
    from coretune_cli.board import board

    show(board(leaderboard, console().width))


def show_domains(table: DomainTable) -> None:
    """Prints domains as columns, a table for each data set."""
    from coretune_cli.domain_board import domain_board

    show(domain_board(table, console().width))


def show_contrasts(contrasts: Contrasts) -> None:
    """Prints planned contrasts as a table."""
    from coretune_cli.contrasts import contrast_board

    show(contrast_board(contrasts, console().width))
