"""`coretune study plan`: what a study would do, without doing it, and without its data if need be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from coretune.errors import UnfitError
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
from coretune_cli.columns import Column, fitted
from coretune_cli.formats import duration, plural, rate
from coretune_cli.on_cluster import LOCAL, elsewhere
from coretune_cli.output import console, note, show, show_json
from coretune_cli.places import RESULTS

if TYPE_CHECKING:
    from coretune.spec.study import Resources


def plan(
    command: typer.Context,
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study file, a shipped study (quickstart), or a results directory.")
    ],
    sets: SetOption = None,
    only: OnlyOption = None,
    out: OutOption = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Also say how long it takes: a few steps of each cell are timed.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Also read the data and the checkpoints, and end with 1 or 3 where `run` would for them."
        ),
    ] = False,
    slots: SlotsOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> int:
    """Say what a study would do: cells, trials, runs, what is recorded already. Trains nothing.

    Of a cluster --cost times the steps on one of its nodes, for as many slots as the study would get.
    """
    from coretune.results.store import reading
    from coretune.study.plan import make_plan
    from coretune_cli.reading import data_notes
    from coretune_cli.running import open_study

    loaded, folder = open_study(study, sets or [])
    if cost and address not in LOCAL:
        return _timed_there(command, str(address), loaded.study.resources, slots, [out, folder])
    cells = chosen_cells(loaded.cells, parse_only(only))
    store = reading(out or folder or RESULTS / loaded.study.name)
    chosen = replace(loaded, cells=cells)
    with data_notes():
        made = make_plan(chosen, store)
    value = made.to_dict()
    if cost:
        from coretune.study.cost import study_cost
        from coretune.study.resolved import resolve

        value["cost"] = study_cost(resolve(chosen), made, slots=slots).to_dict()
    code = 0
    if check:
        from coretune.study.check import check_study, exit_code

        with data_notes():
            found = check_study(chosen)
        value["check"] = [asdict(item) for item in found]
        code = exit_code(found, len(cells), len(made.missing))
    for warning in store.warnings:
        note(f"warning: {warning}", style="bold magenta")
    if as_json:
        show_json(value)
    else:
        show(plan_view(value, console().width))
    return code


def _timed_there(
    command: typer.Context, address: str, resources: Resources, slots: int | None, outputs: list[Path | None]
) -> int:
    """Has a node of a cluster time the steps, and reckon with the slots that the study would get of all nodes."""
    from coretune.cluster.status import cluster_status

    share = cluster_status(address, resources).study
    if share is not None and share.why_none:
        raise UnfitError(share.why_none)
    added = ["--slots", str(share.slots)] if share is not None and slots is None else []
    return elsewhere(command, address, added=added, outputs=outputs, gpu=resources.gpus > 0) or 0


def plan_view(value: Mapping[str, Any], width: int) -> RenderableType:
    """Draws a plan.

    Args:
        value: What `Plan.to_dict` returns.
        width: Characters available.
    """
    cells, prepare = value["cells"], value["prepare"]
    parts: list[RenderableType] = [
        Text.assemble((str(value["study"]), "bold"), ("  ", ""), (f"results in {value['results']}", "dim")),
        Text(""),
        fitted(_columns(), cells, width),
    ]
    for space in _spaces(cells):
        parts.append(space)
    if value["selection"]:
        parts += [Text(""), Text.assemble(("selection  ", "dim"), str(value["selection"]))]
    if prepare:
        parts += [Text(""), *(_prepare_line(item) for item in prepare)]
    if "check" in value:
        parts += [Text(""), *(_check_line(item) for item in value["check"])]
    elif value["missing"]:
        parts += [Text(""), *(Text.assemble(("missing  ", "magenta"), item["text"]) for item in value["missing"])]
    parts += [Text(""), Text(_totals(value), style="bold")]
    if "cost" in value:
        parts += [Text(""), *_cost_lines(value["cost"])]
    checked = tuple(item["text"] for item in value.get("check", ()))
    notes = [text for text in value["notes"] if not (checked and text.endswith(checked))]  # said above
    notes += dict.fromkeys(remark for item in value.get("check", ()) for remark in item["remarks"])
    parts += [Text(f"note: {text}", style="dim") for text in notes]
    return Group(*parts)


def _cost_lines(cost: Mapping[str, Any]) -> list[Text]:
    """Draws what a study would cost, the dearest first."""
    lines = []
    for item in sorted(cost["items"], key=lambda item: -item["seconds"]):
        run = item["run"]
        memory = f", {run['gpu_mb']:,.0f} MiB of GPU memory" if run["gpu_mb"] is not None else ""
        detail = f"{plural(item['runs'], 'run')} of {duration(run['seconds'])}, {rate(run['images_per_s'])} images/s"
        lines.append(Text.assemble(("cost  ", "dim"), f"{item['key']}  {detail}{memory}"))
    slots = plural(cost["slots"], "slot")
    lines.append(Text(f"about {duration(cost['seconds'])} on {slots}", style="bold"))
    lines.append(
        Text("timed one run at a time, with default hyper-parameters; slots that share memory are slower", "dim")
    )
    return lines


def _columns() -> list[Column[Mapping[str, Any]]]:
    return [
        Column("data set", lambda cell: str(cell["dataset"]), least=6),
        Column("method", lambda cell: str(cell["method"]), least=6),
        Column("backbone", lambda cell: str(cell["backbone"]), 1, least=6),
        Column("trials", lambda cell: f"{cell['trials']:,}", 0, "right"),
        Column("search runs", lambda cell: f"{cell['runs_search']:,}", 2, "right"),
        Column("final runs", lambda cell: f"{cell['runs_final']:,}", 2, "right"),
        Column("recorded", lambda cell: "missing" if cell["missing"] else _known(cell["recorded"]), 0, "right"),
    ]


def _spaces(cells: list[Mapping[str, Any]]) -> list[Text]:
    """Draws the search spaces, once for all cells of a method that share one."""
    spaces: dict[tuple[str, tuple[tuple[str, str], ...]], None] = {}
    for cell in cells:
        spaces[(str(cell["method"]), tuple((str(path), str(text)) for path, text in cell["space"].items()))] = None
    lines = [Text("")]
    for method, space in spaces:
        said = ", ".join(f"{path} {text}" for path, text in space) or "nothing: the defaults are compared"
        lines.append(Text.assemble((f"{method} searches ", "dim"), said))
    return lines if spaces else []


def _prepare_line(item: Mapping[str, Any]) -> Text:
    recorded = {True: "recorded", False: "to be done", None: "unknown (data absent or wrong)"}[item["recorded"]]
    run_id = f"  {item['run_id']}" if item["run_id"] else ""
    return Text.assemble(("prepare  ", "dim"), str(item["label"]), (run_id, "dim"), f"  {recorded}")


def _check_line(item: Mapping[str, Any]) -> Text:
    style = {"there": "green", "missing": "magenta", "wrong": "bold red"}[item["state"]]
    what = "" if item["state"] == "missing" else f"{item['kind']} {item['label']}: "
    return Text.assemble((f"{item['state']:<9}", style), what, str(item["text"]))


def _absent(missing: list[Mapping[str, Any]]) -> str:
    """Returns which kinds of things are missing, in words; what is there and wrong is a note."""
    kinds = dict.fromkeys({"data set": "data", "checkpoint": "checkpoint"}[item["kind"]] for item in missing)
    return f"{' and '.join(kinds)} absent" if kinds else "see the notes"


def _totals(value: Mapping[str, Any]) -> str:
    totals, cells = value["totals"], value["cells"]
    head = f"{plural(len(cells), 'cell')}, {plural(totals['trials'], 'trial')}, {plural(totals['runs'], 'run')}"
    if totals["recorded"] is None or totals["to_train"] is None:
        absent, (runs, recorded) = _absent(value["missing"]), _of_known(value)
        if not runs:
            return f"{head}; recorded: unknown ({absent})"
        return f"{head}; recorded: {recorded:,} of {runs:,}, unknown of the others ({absent})"
    evaluate = f", {totals['to_evaluate']:,} of them to evaluate" if totals["to_evaluate"] else ""
    return f"{head}: {totals['recorded']:,} recorded{evaluate}, {totals['to_train']:,} to train"


def _of_known(value: Mapping[str, Any]) -> tuple[int, int]:
    """Returns of how many runs it is known whether they are recorded, and how many of them are."""
    cells = [cell for cell in value["cells"] if cell["recorded"] is not None]
    prepare = [item for item in value["prepare"] if item["kind"] == "pretraining" and item["recorded"] is not None]
    runs = sum(cell["runs_search"] + cell["runs_final"] for cell in cells) + len(prepare)
    return runs, sum(cell["recorded"] for cell in cells) + sum(item["recorded"] for item in prepare)


def _known(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
