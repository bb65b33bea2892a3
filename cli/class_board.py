"""The table of a segmentation's classes: a row for each class, a column for each method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from coretune_cli.columns import Column, fitted

if TYPE_CHECKING:
    from coretune.report.evaluated import EvaluatedRow
    from coretune.report.rule_signs import Selection

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
    from coretune.report.metric_order import merged
    from coretune.report.rule_signs import Selection

    selection = Selection(rows)
    parts: list[RenderableType] = []
    places = list(dict.fromkeys((row.dataset, row.backbone) for row in rows))
    for place in places:
        methods: dict[str, dict[str, EvaluatedRow]] = {}
        for row in rows:
            if (row.dataset, row.backbone) == place:
                methods.setdefault(row.method, {})[row.metric] = row
        lines = [
            (metric, {method: found[metric] for method, found in methods.items() if metric in found})
            for metric in merged(methods.values())
        ]
        columns: list[Column[Line]] = [
            Column("%", lambda line: _named(line[0]), least=14),
            *(
                Column(
                    method + _sign(found.values(), selection),
                    _of(method, max(row.n for row in found.values())),
                    rank,
                    "right",
                )
                for rank, (method, found) in enumerate(methods.items(), 1)
            ),
        ]
        head = label if len(places) == 1 else f"{label}: {', '.join(place)}"
        parts += [Text(head, style="bold"), fitted(columns, lines, width), Text("")]
    return parts


def _sign(rows: Iterable[EvaluatedRow], selection: Selection) -> str:
    """Returns the sign of all figures of a method."""
    return next(filter(None, map(selection.sign, rows)), "")


def _named(metric: str) -> str:
    return f"IoU {metric.removeprefix(IOU)}" if metric.startswith(IOU) else metric.replace("_", " ")


def _of(method: str, seeds: int) -> Callable[[Line], Text]:
    """Returns what writes a method's figure; one over fewer seeds than its others says over how many."""

    def shown(line: Line) -> Text:
        row = line[1].get(method)
        if row is None or row.mean is None:
            return Text("–", style="dim")
        tail = "" if row.stderr is None else f" ± {row.stderr:.2f}"
        fewer = f" ({row.n} of {seeds})" if row.n < seeds else ""
        return Text.assemble(f"{row.mean:.2f}", (tail + fewer, "dim"))

    return shown
