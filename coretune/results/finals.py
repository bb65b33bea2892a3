"""Which of a study's final runs is the best, by what the search may see: the validation part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coretune.errors import RequestError
from coretune.results.cellfile import CellFile
from coretune.results.store import ResultsStore
from coretune.spec.run import judging_epoch


@dataclass(frozen=True)
class FinalRun:
    """A completed final run whose weights are on disk.

    Attributes:
        run_id: Its id.
        cell: Key of its cell.
        index: Which of the cell's final runs it is.
        weights: Which weights the study tests: `last`, `best` or `swad`.
        metric: Name of the study's metric.
        value: That metric on the validation part, of the epoch that runs are judged by.
        direction: Whether larger (max) or smaller (min) is better.
    """

    run_id: str
    cell: str
    index: int
    weights: str
    metric: str
    value: float
    direction: str


@dataclass(frozen=True)
class Best:
    """The best final run, and among how many it was chosen."""

    run: FinalRun
    of: int


def best_final(store: ResultsStore) -> Best:
    """Returns the final run that is best on the validation part, the first of equals.

    Not the one that is best on the test part: chosen so, its test results would flatter it.

    Raises:
        RequestError: There is no completed final run, or their weights were not kept.
    """
    completed = list(completed_finals(store))
    kept = [run for run in completed if store.has_weights(run.run_id, [run.weights])]
    if not kept:
        why = (
            f"the weights of its {len(completed)} final runs were not kept (`keep: none`)"
            if completed
            else "it has no completed final run"
        )
        raise RequestError(f"{store.root}: {why}; name a run with --run ID, or another results directory")
    sign = 1 if kept[0].direction == "max" else -1
    return Best(max(kept, key=lambda run: sign * run.value), len(kept))


def weights_of(cell: CellFile) -> str:
    """Returns which weights of its final runs a study tests."""
    return str(cell.evaluation.get("weights", "last"))


def completed_finals(store: ResultsStore) -> Iterator[FinalRun]:
    """Yields the completed final runs of all cells, whether or not their weights were kept, by cell and index."""
    for cell in store.cells():
        weights = weights_of(cell)
        for final in sorted(cell.finals, key=lambda entry: entry.index):
            record = store.record(final.run_id)
            if record is None or record.status != "completed":
                continue
            value = record.metrics.get(judging_epoch(weights), {}).get(cell.metric)
            if value is not None:
                yield FinalRun(final.run_id, cell.key, final.index, weights, cell.metric, value, cell.direction)
