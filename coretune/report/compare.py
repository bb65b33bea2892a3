"""Two results directories side by side: what changed, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coretune.errors import RequestError
from coretune.report.leaderboard import Leaderboard, Row, build
from coretune.report.statistics import Comparison, compare_paired, compare_unpaired
from coretune.results.store import ResultsStore


@dataclass(frozen=True)
class Change:
    """One cell (or mean row) in two results directories. What cannot be computed is None.

    Attributes:
        kind: `cell`, or `mean` for a mean over data sets.
        dataset: Label of the data set; `mean` in mean rows.
        backbone: Label of the backbone.
        method: Label of the method.
        n_first: Final seeds in the first directory; 0 where it has no such cell.
        mean_first: Their mean.
        n_second: Final seeds in the second directory.
        mean_second: Their mean.
        paired: Whether they share seeds. The test is then paired, over the shared seeds alone (runs with one seed are
            not independent); otherwise it is Welch's.
        comparison: Second minus first.
        same_runs: Whether the very same runs are behind both.
    """

    kind: Literal["cell", "mean"]
    dataset: str
    backbone: str
    method: str
    n_first: int
    mean_first: float | None
    n_second: int
    mean_second: float | None
    paired: bool
    comparison: Comparison
    same_runs: bool


@dataclass(frozen=True)
class Changes:
    """Two results directories, cell by cell.

    Attributes:
        first: Where the first lies.
        second: Where the second lies.
        metric: What both measure; empty where neither has a cell yet.
        direction: Whether more or less of it is better.
        rows: The cells of either, then the mean rows.
        notes: What a reader should know.
    """

    first: str
    second: str
    metric: str
    direction: Literal["max", "min"]
    rows: tuple[Change, ...]
    notes: tuple[str, ...]


def compare(first: ResultsStore, second: ResultsStore) -> Changes:
    """Compares two results directories: their cells, then their mean rows over the same data sets.

    Cells are the same if their labels are; what the labels mean in either study is not compared. A mean over one data
    set says what its cell says, and is left out.

    Raises:
        RequestError: They measure different things: another metric or direction, or one has two objectives.
        StorageError: A file cannot be read for a reason other than its content.
    """
    one, two = build(first), build(second)
    for board in (one, two):
        if board.objectives:
            raise RequestError(
                f"{board.study} has two objectives: `coretune leaderboard compare` lays rows of one side by side; "
                "`export` writes all of them"
            )
    if one.metric and two.metric and (one.metric, one.direction) != (two.metric, two.direction):
        raise RequestError(
            f"{one.study} measures {one.metric} ({one.direction}), {two.study} {two.metric} ({two.direction})"
        )
    left, right = _by_place(one), _by_place(two)
    places = dict.fromkeys([*left, *right])
    changes = [_change(place, left.get(place), right.get(place)) for place in places]
    rows = tuple(sorted(changes, key=lambda change: change.kind == "mean"))
    known = one if one.metric else two
    return Changes(str(first.root), str(second.root), known.metric, known.direction, rows, _notes(one, two, rows))


def _notes(one: Leaderboard, two: Leaderboard, rows: tuple[Change, ...]) -> tuple[str, ...]:
    """Says what the differences may be of, beside a change of the method."""
    notes = []
    if not one.complete or not two.complete:
        which = "neither is" if not one.complete and not two.complete else "one of them is not"
        notes.append(f"{which} complete: not every final run has its test score")
    if one.selection_rule and two.selection_rule and one.selection_rule != two.selection_rule:
        notes.append(f"configurations were chosen differently: {one.selection_rule}; {two.selection_rule}")
    if rows and not any(row.n_first and row.n_second for row in rows):
        notes.append("no cell has the same labels in both")
    return tuple(notes)


_Place = tuple[Literal["cell", "mean"], str, str, str, tuple[str, ...]]


def _by_place(leaderboard: Leaderboard) -> dict[_Place, Row]:
    return {
        (row.kind, row.dataset, row.backbone, row.method, row.datasets): row
        for row in (*leaderboard.rows, *(row for row in leaderboard.means if len(row.datasets) > 1))
    }


def _change(place: _Place, first: Row | None, second: Row | None) -> Change:
    kind, dataset, backbone, method, _ = place
    before = dict(zip(first.seeds, first.values, strict=True)) if first is not None else {}
    after = dict(zip(second.seeds, second.values, strict=True)) if second is not None else {}
    shared = [seed for seed in before if seed in after]
    if shared:
        comparison = compare_paired([after[seed] for seed in shared], [before[seed] for seed in shared])
    else:
        comparison = compare_unpaired(list(after.values()), list(before.values()))
    return Change(
        kind=kind,
        dataset=dataset,
        backbone=backbone,
        method=method,
        n_first=len(before),
        mean_first=first.mean if first is not None else None,
        n_second=len(after),
        mean_second=second.mean if second is not None else None,
        paired=bool(shared),
        comparison=comparison,
        same_runs=first is not None and second is not None and bool(before) and first.run_ids == second.run_ids,
    )
