"""What a study asks for and is not there: which cells it holds up, and how it is told. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from coretune.errors import MissingError
from coretune.spec.cells import BackboneChoice, Cell, DatasetChoice
from coretune.spec.components import DatasetComponent


@dataclass(frozen=True)
class Missing:
    """A data set or a checkpoint that is not there.

    Attributes:
        kind: Which of the two.
        label: The data set's label, or that of the backbone that starts from the checkpoint.
        problem: What is missing and where it was looked for, and perhaps more, on several lines.
        obtain: Where to get it; empty where nobody said.
    """

    kind: Literal["data set", "checkpoint"]
    label: str
    problem: str
    obtain: str

    @property
    def text(self) -> str:
        """All that matters on one line: what, where it was looked for, where to get it."""
        what = f"data set {self.label}" if self.kind == "data set" else f"checkpoint of {self.label}"
        to_get = f"; to get it: {self.obtain}" if self.obtain else ""
        return " ".join(f"{what} is missing: {self.problem.splitlines()[0]}{to_get}".split())


@dataclass(frozen=True)
class MissingCell:
    """A cell that cannot be run, and what it lacks: at least one thing."""

    cell: Cell
    lacks: tuple[Missing, ...]


def missing_data(dataset: DatasetChoice, about: DatasetComponent, error: MissingError) -> Missing:
    """Returns what is told of a data set that is not there."""
    command = f"`coretune data check {about.name} --download`" if about.download and dataset.path is None else ""
    return Missing("data set", dataset.section, str(error), ", or ".join(filter(None, (about.obtain, command))))


def missing_checkpoint(backbone: BackboneChoice, error: MissingError) -> Missing:
    """Returns what is told of a checkpoint that is not there."""
    return Missing("checkpoint", backbone.label, str(error), backbone.obtain)


def things(cells: Iterable[MissingCell]) -> dict[Missing, int]:
    """Returns each thing that is missing, and how many of the cells lack it."""
    found: dict[Missing, int] = {}
    for cell in cells:
        for thing in cell.lacks:
            found[thing] = found.get(thing, 0) + 1
    return found


def to_dicts(cells: Iterable[MissingCell]) -> list[dict[str, Any]]:
    """Returns what is missing as plain values, as `state.json` and a plan have it."""
    return [
        {"kind": thing.kind, "label": thing.label, "cells": number, "text": thing.text}
        for thing, number in things(cells).items()
    ]


def refusal(cells: Iterable[MissingCell]) -> MissingError:
    """Returns the error of a study none of whose cells can be run."""
    found = list(things(cells))
    if len(found) == 1:
        (thing,) = found
        if thing.kind == "data set":
            return MissingError(f"data set {thing.label}: {thing.problem}")
        return MissingError(thing.text)
    lines = "".join(f"\n  {thing.text}" for thing in found)
    return MissingError(f"no cell can be run, {len(found)} things are missing:{lines}")
