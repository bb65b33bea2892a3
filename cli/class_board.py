"""The table of a segmentation's classes: a row for each class, a column for each method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from coretune_cli.columns import Column, fitted

if TYPE_CHECKING:
    from coretune.report.evaluated import EvaluatedRow

IOU = "iou_"
"""What the names of the classes' metrics begin with."""

Line = tuple[str, dict[str, "EvaluatedRow"]]
"""A metric, and the row of each method."""


def class_tables(label: str, rows: Sequence[EvaluatedRow], width: int) -> list[RenderableType]:
    """Draws an evaluation with an IoU for each class: a table for each data set and backbone, classes one a line.

    Args:
        label: What the evaluation is called.
        rows: Of all cells and means.
        width: Characters of a line.
    """
    parts: list[RenderableType] = []
    places = list(dict.fromkeys((row.dataset, row.backbone) for row in rows))
    for place in places:
        lines: dict[str, dict[str, EvaluatedRow]] = {}
        for row in rows:
            if (row.dataset, row.backbone) == place:
                lines.setdefault(row.metric, {})[row.method] = row
        methods = dict.fromkeys(method for found in lines.values() for method in found)
        columns: list[Column[Line]] = [
            Column("%", lambda line: _named(line[0]), least=14),
            *(Column(method, _of(method), rank, "right") for rank, method in enumerate(methods, 1)),
        ]
        head = label if len(places) == 1 else f"{label}: {', '.join(place)}"
        parts += [Text(head, style="bold"), fitted(columns, list(lines.items()), width), Text("")]
    return parts


def _named(metric: str) -> str:
    return f"IoU {metric.removeprefix(IOU)}" if metric.startswith(IOU) else metric.replace("_", " ")


def _of(method: str) -> Callable[[Line], Text]:
    def shown(line: Line) -> Text:
        row = line[1].get(method)
        if row is None or row.mean is None:
            return Text("–", style="dim")
        tail = "" if row.stderr is None else f" ± {row.stderr:.2f}"
        return Text.assemble(f"{row.mean:.2f}", (tail, "dim"))

    return shown
