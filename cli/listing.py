"""`coretune study list`: the studies whose results are here, and those that ship with coretune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from coretune.errors import CoretuneError
from coretune_cli.arguments import JsonOption
from coretune_cli.columns import Column, fitted
from coretune_cli.driver import inspect_driver
from coretune_cli.formats import moment_text
from coretune_cli.output import console, show, show_json
from coretune_cli.places import RESULTS, all_results, read_state
from coretune_cli.screen import state_text


@dataclass(frozen=True)
class Entry:
    """A results directory in one line."""

    results: str
    study: str
    phase: str
    done: int
    total: int
    failed: int
    updated: str


def list_studies(as_json: JsonOption = False) -> int:
    """List the studies below ./results, newest first, and those that ship with coretune."""
    entries = [entry(folder) for folder in all_results()]
    shipped = shipped_descriptions()
    if as_json:
        show_json({"results": [asdict(item) for item in entries], "shipped": shipped})
    else:
        show(list_view(entries, shipped, console().width))
    return 0


def entry(folder: Path) -> Entry:
    """Returns the line of a results directory; one whose state cannot be read has a phase that says so."""
    try:
        state = read_state(folder)
    except CoretuneError:
        phase = "not begun" if not (folder / "state.json").exists() else "unreadable"
        return Entry(str(folder), folder.name, phase, 0, 0, 0, "")
    phase = "stopped" if inspect_driver(state).lost else state.phase
    return Entry(str(folder), state.study, phase, state.runs.done, state.runs.total, state.runs.failed, state.updated)


def shipped_descriptions() -> list[dict[str, str]]:
    """Returns name, description and file of the studies that ship with coretune."""
    from coretune.spec.load import shipped_studies
    from coretune.spec.yamlfile import read_yaml

    found = []
    for name, file in shipped_studies().items():
        value = read_yaml(file).value
        description = value.get("description", "") if isinstance(value, dict) else ""
        found.append({"name": name, "description": str(description), "file": str(file)})
    return found


def list_view(entries: list[Entry], shipped: list[dict[str, str]], width: int) -> RenderableType:
    """Draws both lists."""
    columns: list[Column[Entry]] = [
        Column("results", lambda item: item.results, least=12),
        Column("study", lambda item: item.study, 2, least=8),
        Column("phase", lambda item: state_text(item.phase)),
        Column("runs", lambda item: f"{item.done:,}/{item.total:,}", 0, "right"),
        Column("failed", lambda item: Text(str(item.failed) if item.failed else "·"), 1, "right"),
        Column("updated", lambda item: moment_text(item.updated), 0),
    ]
    ours: RenderableType = Text(f"no results below ./{RESULTS}", style="dim")
    if entries:
        ours = fitted(columns, entries, width)
    theirs: list[Column[Mapping[str, Any]]] = [
        Column("shipped study", lambda item: item["name"]),
        Column("what it shows", lambda item: item["description"], least=20),
    ]
    return Group(ours, Text(""), fitted(theirs, shipped, width))
