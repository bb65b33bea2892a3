"""`coretune cluster status`: the nodes of a Ray cluster, what runs on them, and what a study would get."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from coretune_cli.arguments import JsonOption, SetOption
from coretune_cli.columns import Column, fitted
from coretune_cli.formats import duration, plural, size
from coretune_cli.output import console, show, show_json

if TYPE_CHECKING:
    from coretune.cluster.status import ClusterStatus, Driver, NodeStatus, Share

app = typer.Typer(name="cluster", help="Look at a Ray cluster.", no_args_is_help=True)

AddressOption = Annotated[
    str | None,
    typer.Option("--address", envvar="RAY_ADDRESS", help="host:port; default: the cluster that this machine is in."),
]
StudyOption = Annotated[
    str | None, typer.Option("--study", metavar="STUDY", help="Say what this study would get: its slots and groups.")
]


@app.callback()
def about() -> None:
    """Look at a Ray cluster."""


@app.command("status")
def status(
    address: AddressOption = None, study: StudyOption = None, sets: SetOption = None, as_json: JsonOption = False
) -> int:
    """Say what a cluster has, what runs on it, and what a study would get."""
    from coretune.cluster.status import cluster_status
    from coretune_cli.running import open_study

    resources = open_study(study, sets or [])[0].study.resources if study is not None else None
    found = cluster_status(address or "auto", resources)
    if as_json:
        show_json(asdict(found))
    else:
        show(status_view(found, console().width, datetime.now(UTC).timestamp()))
    return 0


def status_view(found: ClusterStatus, width: int, now: float) -> RenderableType:
    """Draws a cluster.

    Args:
        found: What is known of it.
        width: Available characters.
        now: Seconds since the epoch.
    """
    parts: list[RenderableType] = [
        Text(f"Ray {found.ray} at {found.address}: {plural(len(found.nodes), 'node')}", style="bold"),
        nodes_view(found.nodes, width),
    ]
    parts += [
        Text(f"{node.name} did not answer: {node.problem}", style="magenta") for node in found.nodes if node.problem
    ]
    parts.append(Text(""))
    if found.drivers:
        columns: list[Column[Driver]] = [
            Column("job", lambda driver: driver.job),
            Column("for", lambda driver: duration(max(0.0, now - driver.since)), 1, "right"),
            Column("driver", lambda driver: f"{driver.node}, pid {driver.pid}", 2, least=12),
            Column("command", lambda driver: driver.command or "–", least=20),
        ]
        parts.append(fitted(columns, found.drivers, width))
    else:
        parts.append(Text("nothing else uses the cluster", style="dim"))
    if found.study is not None:
        parts += [Text(""), Text(share_text(found.study), style="bold")]
    return Group(*parts)


def nodes_view(nodes: tuple[NodeStatus, ...], width: int) -> RenderableType:
    """Draws the nodes, one a line."""
    gpus = any(node.gpus for node in nodes)
    columns: list[Column[NodeStatus]] = [
        Column("node", lambda node: node.name + (" · head" if node.head else ""), least=14),
        Column("CPUs free", lambda node: f"{node.cpus_free:g}/{node.cpus:g}", 0, "right"),
    ]
    if gpus:
        columns += [
            Column("GPUs free", lambda node: f"{node.gpus_free:g}/{node.gpus:g}", 0, "right"),
            Column("GPU", lambda node: node.accelerator or "·", 2),
        ]
    columns += [
        Column("memory free", _memory, 1, "right"),
        Column("runs there", lambda node: actors_text(node) or "·", 0, least=12),
    ]
    return fitted(columns, nodes, width)


def actors_text(node: NodeStatus) -> str:
    """Writes what is on a node, the most numerous first: `4 slots, 1 DeskActor`."""
    ordered = sorted(node.actors.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(plural(number, "slot") if name == "slot" else f"{number} {name}" for name, number in ordered)


def share_text(share: Share) -> str:
    """Writes what a study would get, or why nothing."""
    if share.why_none:
        return f"the study would be refused: {share.why_none}"
    what = plural(share.slots, "slot" if share.workers == 1 else "group")
    of = "" if share.workers == 1 else f" of {share.workers} workers"
    return f"the study would get {what}{of}, {share.free} of them free now"


def _memory(node: NodeStatus) -> str:
    if node.memory is None or node.memory_free is None:
        return "–"
    return f"{size(node.memory_free)} of {size(node.memory)}"
