"""The arguments and options that several commands share, and what their words mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coretune.errors import RequestError

if TYPE_CHECKING:
    from coretune.spec.cells import Cell

KINDS = ("dataset", "method", "backbone")

ResultsArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[DIR]",
        help="A results directory, or its name below ./results; default: the newest.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1; default: the first GPU, else the CPU."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the study file, e.g. train.epochs=5. Repeatable."
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="KIND=LABEL", help="Only these cells, e.g. dataset=cifar10. Repeatable."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Results directory; default: results/<study name>.")
]
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--slots", min=1, help="Runs at a time; default: the study's, else what the machine or cluster holds."
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        metavar="auto|HOST:PORT",
        help="A running Ray cluster that does the work; default: this machine.",
        show_default=False,
    ),
]
JobAddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="http://HEAD:8265",
        help="The dashboard of the cluster that a study was submitted to; the argument is then its job's id.",
        show_default=False,
    ),
]


def parse_only(items: Sequence[str] | None) -> dict[str, str]:
    """Returns what `--only` asks for, e.g. `{"dataset": "cifar10"}`.

    Raises:
        RequestError: Not KIND=LABEL, an unknown kind, or one kind twice.
    """
    found: dict[str, str] = {}
    for item in items or ():
        kind, equals, label = item.partition("=")
        if not equals or not label or kind not in KINDS:
            raise RequestError(f"--only {item}: needs dataset=LABEL, method=LABEL or backbone=LABEL")
        if found.setdefault(kind, label) != label:
            raise RequestError(f"--only {kind}= stands twice, with {found[kind]} and {label}; one label of each kind")
    return found


def chosen_cells(cells: Sequence[Cell], only: Mapping[str, str]) -> tuple[Cell, ...]:
    """Returns the cells of a study that `--only` leaves.

    Raises:
        RequestError: A label that no cell has.
    """
    check_only(only, {kind: [label for cell in cells for label in cell.labels(kind)] for kind in KINDS})
    return tuple(cell for cell in cells if all(label in cell.labels(kind) for kind, label in only.items()))


def check_only(only: Mapping[str, str], labels: Mapping[str, Sequence[str]]) -> None:
    """Refuses a label that no cell has.

    Args:
        only: As `parse_only` returns it.
        labels: The labels that there are, by kind.

    Raises:
        RequestError: No such label; names those that there are.
    """
    for kind, label in only.items():
        known = list(dict.fromkeys(labels[kind]))
        if label not in known:
            raise RequestError(f"--only {kind}={label}: no such {kind} here; it is one of {', '.join(known) or 'none'}")
