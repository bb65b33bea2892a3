"""The metrics that a run reported by epoch, as a table of a dozen lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import RenderableType

from coretune_cli.columns import Column, fitted
from coretune_cli.formats import score

Epochs = Mapping[int, Mapping[str, float]]

SHOWN = 12
NO_METRIC = "seconds"
"""What stands beside the metrics in a run's file of them."""


def metrics_by_epoch(epochs: Epochs) -> dict[int, dict[str, float]]:
    """Returns the metrics alone, of the epochs that have any, in their order."""
    found = {
        epoch: {name: value for name, value in epochs[epoch].items() if name != NO_METRIC} for epoch in sorted(epochs)
    }
    return {epoch: metrics for epoch, metrics in found.items() if metrics}


def epochs_table(epochs: Epochs, width: int) -> RenderableType | None:
    """Draws the metrics by epoch; of many epochs `SHOWN`, evenly, the first and the last among them. None of none."""
    found = metrics_by_epoch(epochs)
    if not found:
        return None
    names = list(dict.fromkeys(name for metrics in found.values() for name in metrics))
    columns = [
        Column[int]("epoch", lambda epoch: str(epoch), 0, "right"),
        *(_column(name, place, found) for place, name in enumerate(names)),
    ]
    return fitted(columns, spread(list(found), SHOWN), width)


def spread(numbers: Sequence[int], most: int) -> list[int]:
    """Returns at most so many of some numbers (two or more), evenly, the first and the last among them."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[round(place * (len(numbers) - 1) / (most - 1))] for place in range(most)]


def _column(name: str, place: int, found: Epochs) -> Column[int]:
    return Column(name, lambda epoch: score(found[epoch].get(name), name), place, "right")
