"""`coretune study show`: a study's cells and trials, or one run with all that it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from coretune.errors import RequestError
from coretune_cli.arguments import KINDS, JsonOption, OnlyOption, OutOption, check_only, parse_only
from coretune_cli.columns import Column, fitted
from coretune_cli.epochs import Epochs, epochs_table, metrics_by_epoch
from coretune_cli.formats import duration, moment_text, params_text, score
from coretune_cli.logs import tail
from coretune_cli.output import console, note, show_json
from coretune_cli.output import show as print_view
from coretune_cli.places import RESULTS, RUNS, RunPlace, find_results, find_run
from coretune_cli.screen import state_text

if TYPE_CHECKING:
    from coretune.results.cellfile import CellFile, TrialEntry
    from coretune.results.record import Evaluation, Record
    from coretune.results.store import ResultsStore

LOG_LINES = 20


def show(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[DIR|RUN_ID]",
            help="A results directory, a run's id (or its beginning); default: the newest results.",
        ),
    ] = None,
    only: OnlyOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show a study's cells and trials, or a run: spec, metrics, and why it failed."""
    folder = _results(what, out)
    if folder is not None:
        return _show_study(folder, parse_only(only), as_json=as_json)
    if only:
        raise RequestError("--only chooses among a study's cells; a run has none")
    return _show_run(find_run(str(what), out), as_json=as_json)


def _results(what: str | None, out: Path | None) -> Path | None:
    """Returns the results directory that is meant, or None if it is a run."""
    if what is None:
        folder, chosen = find_results(str(out) if out is not None else None)
        if chosen:
            note(f"{folder}, the newest results", style="dim")
        return folder
    try:
        return find_results(what)[0]
    except RequestError:
        a_run = Path(what).absolute().parent.name == RUNS
        if not a_run and any(place.is_dir() for place in (Path(what), RESULTS / what)):
            raise
        return None


def _show_study(folder: Path, only: Mapping[str, str], *, as_json: bool) -> int:
    from coretune.report.missing import read_missing
    from coretune.results.store import ResultsStore

    store = ResultsStore(folder)
    missing = read_missing(store)
    cells = list(store.cells())
    check_only(only, {kind: [label for cell in cells for label in cell.labels(kind)] for kind in KINDS})
    cells = [cell for cell in cells if all(label in cell.labels(kind) for kind, label in only.items())]
    if as_json:
        found = [cell.model_dump(mode="json") for cell in cells]
        show_json({"results": str(folder), "cells": found, "missing": [asdict(item) for item in missing]})
    else:
        print_view(
            *(cell_view(cell, console().width) for cell in cells) if cells else [Text(f"no cell in {folder} yet")]
        )
    for item in missing:
        note(item.text, style="bold magenta")
    _warn(store.warnings)
    return 0


def _show_run(place: RunPlace, *, as_json: bool) -> int:
    from coretune.results.store import ResultsStore

    store = ResultsStore(place.results)
    record = store.record(place.run_id)
    evaluations = list(store.evaluations(place.run_id))
    labels = _labels(store, place.run_id)
    epochs = metrics_by_epoch(store.epochs(place.run_id))
    log = tail(place.folder / "log.txt", LOG_LINES) if record is None or record.status == "failed" else None
    if as_json:
        plain = record.model_dump(mode="json") if record is not None else None
        found = [{**item.model_dump(mode="json"), "label": labels.get(item.eval_id)} for item in evaluations]
        show_json(
            {
                "run_id": place.run_id,
                "folder": str(place.folder),
                "record": plain,
                "epochs": [{"epoch": epoch, **metrics} for epoch, metrics in epochs.items()],
                "evaluations": found,
                "log": log,
            }
        )
    else:
        print_view(run_view(place, record, evaluations, log, labels, epochs))
    _warn(store.warnings)
    return 0


def _labels(store: ResultsStore, run_id: str) -> dict[str, str]:
    """Returns the labels of a run's further evaluations by their ids, as the cells whose final run it is name them."""
    from coretune.report.scores import further_evaluations

    found: dict[str, str] = {}
    for cell in store.cells():
        if any(final.run_id == run_id for final in cell.finals):
            found |= {spec.eval_id(run_id): label for label, spec in further_evaluations(cell).items()}
    return found


def cell_view(cell: CellFile, width: int) -> RenderableType:
    """Draws a cell: its trials, its choice, its final runs."""
    choices = cell.choices or ((cell.choice,) if cell.choice is not None else ())
    chosen = {choice.trial for choice in choices}
    further = [measure.metric for measure in cell.objectives[1:]]
    columns: list[Column[TrialEntry]] = [
        Column("trial", lambda trial: f"{'→ ' if trial.number in chosen else ''}{trial.number}", 0, "right"),
        Column("state", lambda trial: state_text(trial.state)),
        Column(cell.metric, lambda trial: score(trial.value, cell.metric), 0, "right"),
        *(_further_score(metric) for metric in further),
        Column("parameters", lambda trial: params_text(trial.params), least=20),
        Column("runs", lambda trial: Text(" ".join(trial.runs), style="dim"), 1, least=16),
    ]
    parts: list[RenderableType] = [Text(cell.key, style="bold"), fitted(columns, cell.trials, width)]
    for choice in choices:
        parts.append(Text.assemble(("chosen  ", "dim"), f"trial {choice.trial}, {choice.rule}"))
        parts.append(Text.assemble(("        ", "dim"), params_text(choice.params)))
        finals = [final.run_id for final in cell.finals if final.trial in (None, choice.trial)]
        if finals:
            parts.append(Text.assemble(("finals  ", "dim"), " ".join(finals)))
    return Group(*parts, Text(""))


def _further_score(metric: str) -> Column[TrialEntry]:
    return Column(metric, lambda trial: score(trial.scores.get(metric), metric), 0, "right")


def run_view(
    place: RunPlace,
    record: Record | None,
    evaluations: Sequence[Evaluation],
    log: str | None,
    labels: Mapping[str, str],
    epochs: Epochs,
) -> RenderableType:
    """Draws a run.

    Args:
        place: Where it lies.
        record: What it left, or None.
        evaluations: All that it has.
        log: The end of its log, if it is to be shown.
        labels: What the study calls its evaluations, by their ids.
        epochs: Its metrics by epoch.
    """
    head = Text.assemble(("run ", "dim"), (place.run_id, "bold"), "  ", (str(place.folder), "dim"))
    if record is None:
        return Group(
            head, Text("no record: it is running, was interrupted, or never began"), *_by_epoch(epochs), *_log(log)
        )
    parts: list[RenderableType] = [head, Text.assemble(("status  ", "dim"), state_text(record.status))]
    if record.cause is not None:
        cause = record.cause
        places = [f"{name} {at}" for name, at in (("epoch", cause.epoch), ("step", cause.step)) if at is not None]
        where = f" ({', '.join(places)})" if places else ""
        parts.append(Text.assemble(("cause   ", "dim"), (cause.kind, "bold red"), f": {cause.message}{where}"))
    took = record.timings.get("total_s")
    times = f"{moment_text(record.started)} to {moment_text(record.finished)}"
    parts.append(Text.assemble(("time    ", "dim"), times, f", {duration(took)}" if took is not None else ""))
    parts += _block("spec", flat(record.spec))
    parts += _block("metrics on validation", flat(record.metrics))
    parts += _by_epoch(epochs)
    for evaluation in evaluations:
        title = evaluation_title(evaluation, labels.get(evaluation.eval_id))
        parts += _block(title, flat(evaluation.metrics))
    for eval_id, cause in record.failed_evaluations.items():
        failed = f"evaluation {labels.get(eval_id, eval_id)} failed: "
        parts += [Text(""), Text.assemble((failed, "bold"), (cause.kind, "bold red"), f": {cause.message}")]
    parts += _block("timings", flat(record.timings))
    parts += _block("environment", flat(record.environment))
    parts += [Text.assemble(("note    ", "dim"), text) for text in record.notes]
    return Group(*parts, *_log(log))


def evaluation_title(evaluation: Evaluation, label: str | None) -> str:
    """Returns what an evaluation is, in words: `evaluation mine: geometry on labelled, best weights, per_class 40`."""
    spec = evaluation.spec
    ref = spec.get("evaluation", {})
    name = str(ref.get("name", evaluation.eval_id))
    head = f"{label}: {name}" if label is not None and label != name else name
    said = [f"evaluation {head} on {spec.get('split', 'test')}"]
    if spec.get("weights", "last") != "last":
        said.append(f"{spec['weights']} weights")
    said += [f"{key} {spec[key]}" for key in ("limit", "seed") if spec.get(key)]
    said += [f"{key} {value}" for key, value in ref.get("params", {}).items()]
    return ", ".join(said)


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns a nested mapping by dotted path, its values as text."""
    found: dict[str, str] = {}
    for key, item in value.items():
        path = f"{prefix}{key}"
        if isinstance(item, Mapping) and item:
            found |= flat(item, f"{path}.")
        else:
            found[path] = f"{item:.6g}" if isinstance(item, float) else str(item)
    return found


def _block(title: str, values: Mapping[str, str]) -> list[RenderableType]:
    if not values:
        return []
    width = max(map(len, values))
    return [
        Text(""),
        Text(title, style="bold"),
        *(Text.assemble((f"  {k:<{width}}  ", "dim"), v) for k, v in values.items()),
    ]


def _by_epoch(epochs: Epochs) -> list[RenderableType]:
    table = epochs_table(epochs, console().width - 2)
    if table is None:
        return []
    return [Text(""), Text("metrics on validation by epoch", style="bold"), Padding(table, (0, 0, 0, 2), expand=False)]


def _log(text: str | None) -> list[RenderableType]:
    if text is None:
        return []
    return [Text(""), Text("the end of its log", style="bold"), *(Text(f"  {line}") for line in text.splitlines())]


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        note(f"warning: {warning}", style="bold magenta")
