"""`coretune study run` and `resume`: one thing under two names, because what is recorded is not done again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coretune.errors import RequestError
from coretune.results.remote import remote_url
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune_cli.arguments import (
    AddressOption,
    JsonOption,
    OnlyOption,
    OutOption,
    SetOption,
    SlotsOption,
    chosen_cells,
    parse_only,
)
from coretune_cli.formats import parse_duration, plural
from coretune_cli.output import note, show_json, show_text
from coretune_cli.places import RESULTS, find_results
from coretune_cli.segment_runs import picture_command

if TYPE_CHECKING:
    from coretune.results.record import Record
    from coretune.spec.load import LoadedStudy
    from coretune.study.engine import Outcome

FAILED = 1
SHOWN_FAILURES = 3

Observe = Callable[[Callable[[], dict[str, Any]]], AbstractContextManager[None]]

TimeOption = Annotated[
    str | None,
    typer.Option("--time-limit", metavar="TIME", help="Stop cleanly, resumable, after 90s, 30m, 2h or 1h30m."),
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Train runs again that failed by themselves, e.g. NaN.")
]


@dataclass(frozen=True)
class Request:
    """What a command line asks to run."""

    loaded: LoadedStudy
    out: Path
    only: dict[str, str]
    slots: int | None
    time_limit_s: float | None
    retry_failed: bool
    address: str | None


def run(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study file, a shipped study (quickstart), or a results directory.")
    ],
    sets: SetOption = None,
    only: OnlyOption = None,
    time_limit: TimeOption = None,
    slots: SlotsOption = None,
    out: OutOption = None,
    address: AddressOption = None,
    retry_failed: RetryOption = False,
    as_json: JsonOption = False,
) -> int:
    """Run a study, or go on with it: what is recorded is not trained again."""
    seconds = parse_duration(time_limit) if time_limit is not None else None
    loaded, folder = open_study(study, sets or [])
    chosen = parse_only(only)
    chosen_cells(loaded.cells, chosen)
    place = out or folder or RESULTS / loaded.study.name
    return execute(Request(loaded, place, chosen, slots, seconds, retry_failed, address), as_json=as_json)


def resume(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[DIR|STUDY]", help="As of `run`; default: the newest results.", show_default=False),
    ] = None,
    sets: SetOption = None,
    only: OnlyOption = None,
    time_limit: TimeOption = None,
    slots: SlotsOption = None,
    out: OutOption = None,
    address: AddressOption = None,
    retry_failed: RetryOption = False,
    as_json: JsonOption = False,
) -> int:
    """Go on with a study; the same as `run`."""
    if study is None:
        study = str(find_results(str(out) if out is not None else None)[0])
        note(f"resuming {study}")
    return run(study, sets, only, time_limit, slots, out, address, retry_failed, as_json)


def open_study(words: str, sets: list[str]) -> tuple[LoadedStudy, Path | None]:
    """Reads the study that an argument means: a file, a shipped one by name, or that of a results directory.

    Returns:
        The study, and the results directory if that is what was given.

    Raises:
        StudyError: The file is not there or is wrong.
        RequestError: A directory without a study.
    """
    from coretune.spec.load import load_study, shipped_studies

    if (url := remote_url(words)) is not None:
        from coretune.results.store import reading

        copy = reading(url).root / "study.yaml"
        if not copy.exists():
            raise RequestError(f"{url} holds no study.yaml: give a study file, or the results of a study")
        return load_study(copy, sets), Path(words)
    folder = Path(words)
    if not folder.is_dir() or (not (folder / "study.yaml").exists() and words in shipped_studies()):
        file = shipped_studies().get(words, folder) if folder.is_dir() else folder
        return load_study(file, sets), None
    if not (folder / "study.yaml").exists():
        raise RequestError(f"{words} is a directory without study.yaml: give a study file, or the results of a study")
    return load_study(folder / "study.yaml", sets), folder


def execute(request: Request, *, as_json: bool) -> int:
    """Runs a study, shows it meanwhile and its leaderboard at the end, and returns the exit code."""
    cells = plural(len(request.loaded.cells), "cell")
    note(
        f"study {request.loaded.study.name}: {cells}, results in {remote_url(request.out) or request.out}", style="dim"
    )
    from coretune.study.engine import run_study
    from coretune_cli.live import last_line, observe
    from coretune_cli.reading import data_notes

    with data_notes():
        outcome = run_study(
            request.loaded,
            out=request.out,
            slots=request.slots,
            time_limit_s=request.time_limit_s,
            only=request.only,
            retry_failed=request.retry_failed,
            address=request.address,
            observe=observe,
            on_abort=last_line(
                f"stopped at once; go on with: {resuming(remote_url(request.out) or request.out, request.address)}"
            ),
        )
    report(outcome, as_json=as_json, address=request.address)
    return exit_code(outcome)


def resuming(results: object, address: str | None) -> str:
    """Returns the command that goes on with a study."""
    return f"coretune study resume {results}" + (f" --address {address}" if address is not None else "")


def exit_code(outcome: Outcome) -> int:
    """Returns 0 if all is done, 1 if some run failed or some cell is missing, 130 if the study was interrupted."""
    if outcome.phase == "interrupted":
        return INTERRUPTED
    return FAILED if outcome.phase != "done" or outcome.failed_runs else 0


def report(outcome: Outcome, *, as_json: bool, address: str | None = None) -> None:
    """Prints leaderboard and planned contrasts to stdout, to stderr what became of the study and what comes next."""
    from coretune.report import contrasts, domains
    from coretune.report.export import contrasts_to_dict, to_dict
    from coretune.report.leaderboard import build
    from coretune.results.store import reading
    from coretune.study.missing import things, to_dicts
    from coretune_cli.leaderboard import show_contrasts, show_domains, show_leaderboard

    store = reading(outcome.results)
    leaderboard = build(store)
    by_domain = domains.build(store)
    planned = contrasts.build(store) if outcome.phase in ("done", "failed") else None  # no early look
    if as_json:
        said = {
            "phase": outcome.phase,
            "reason": outcome.reason,
            "failed_runs": outcome.failed_runs,
            "missing": to_dicts(outcome.missing),
            "results": str(outcome.results),
        }
        found = {"contrasts": contrasts_to_dict(planned)} if planned is not None else {}
        found |= {"domains": domains.to_dict(by_domain)} if by_domain is not None else {}
        show_json({**said, "leaderboard": to_dict(leaderboard), **found})
    elif leaderboard.rows:
        show_leaderboard(leaderboard)
        if by_domain is not None:
            show_text("\n")
            show_domains(by_domain)
        if planned is not None:
            show_text("\n")
            show_contrasts(planned)
    if outcome.failed_runs:
        _note_failures([record for record in store.records() if record.status == "failed"], outcome, address)
    for thing in things(outcome.missing):
        note(thing.text, style="bold magenta")
    if outcome.phase == "interrupted":
        why = f" ({outcome.reason})" if outcome.reason not in (None, outcome.phase) else ""
        note(f"interrupted{why}; go on with: {resuming(outcome.results, address)}", style="bold")
    elif outcome.phase == "failed":
        note(f"failed; `coretune study status {outcome.results}` says what happened", style="bold red")
    elif outcome.phase == "incomplete":
        lacking = plural(len(outcome.missing), "cell")
        note(
            f"incomplete: {lacking} missing; once what they lack is there: {resuming(outcome.results, address)}",
            style="bold magenta",
        )
    else:
        note(f"done: {outcome.results}/leaderboard.csv, runs.csv")
    if outcome.phase != "interrupted" and (command := picture_command(store)) is not None:
        note(f"what it predicts, as a picture: {command}")


def _note_failures(failed: list[Record], outcome: Outcome, address: str | None) -> None:
    note(f"{plural(outcome.failed_runs, 'run')} failed:", style="bold red")
    for record in failed[:SHOWN_FAILURES]:
        cause = f"{record.cause.kind}: {record.cause.message}" if record.cause is not None else "no cause recorded"
        note(f"  {record.run_id}  {cause}")
    if failed:
        note(f"  see: coretune study show {failed[0].run_id} --out {outcome.results}")
        note(f"  to train them again: {resuming(outcome.results, address)} --retry-failed")
