"""What a resume trains or evaluates again, and whose weights may go: pure functions over records and cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from coretune.results.cellfile import CellFile
from coretune.results.record import Record
from coretune.spec.run import EvalSpec

Keep = Literal["finals", "all", "none"]


def should_train(record: Record | None, *, retry_failed: bool) -> bool:
    """Returns whether a resume trains this run.

    A settled run (completed or pruned) is never trained again. A failure of the environment (a lost process or node, a
    full disk) says nothing about the run: it is trained again. Any other failure would most likely repeat itself: it
    is trained again on request only.

    Args:
        record: What the run left; None if nothing.
        retry_failed: Whether other failures are retried too.
    """
    if record is None:
        return True
    if record.settled:
        return False
    return retry_failed or (record.cause is not None and record.cause.kind == "environment")


def should_evaluate(record: Record, eval_id: str, *, retry_failed: bool) -> bool:
    """Returns whether a resume makes an evaluation that a completed run lacks: by the rule of `should_train`.

    Args:
        record: What the run left.
        eval_id: The evaluation.
        retry_failed: Whether one that failed for a reason of its own is tried again.
    """
    cause = record.failed_evaluations.get(eval_id)
    return cause is None or retry_failed or cause.kind == "environment"


def needed_weights(evaluations: Iterable[EvalSpec], *, keep: bool) -> frozenset[str]:
    """Returns which weights of a recorded run have to be there for it to be evaluated and not trained again.

    Args:
        evaluations: Those that it lacks.
        keep: Whether the weights of its last epoch are to stay on disk.
    """
    return frozenset(spec.weights for spec in evaluations) | (frozenset(["last"]) if keep else frozenset())


def deletable_weights(
    keep: Keep,
    cells: Iterable[CellFile],
    records: Mapping[str, Record],
    *,
    asked: Collection[str] = (),
    evaluated: Collection[str] = (),
) -> frozenset[str]:
    """Returns the ids of the runs whose weights may be deleted.

    Never those of a run without a settled record; and, while any run of any cell is unfinished, of a
    pre-training or of a final run (it may still have to be evaluated).

    Args:
        keep: `all` keeps everything; `finals` keeps final runs and pre-trainings, which another study may build on;
            `none` keeps nothing.
        cells: All cells of the results directory.
        records: All its records, by run id.
        asked: Keys of the cells that the study asks for, begun or not.
        evaluated: Runs with an evaluation: final runs, perhaps of a configuration that was chosen earlier.
    """
    if keep == "all":
        return frozenset()
    known = list(cells)
    finals = {final.run_id for cell in known for final in cell.finals}.union(evaluated)
    pretrainings = {run_id for run_id, record in records.items() if record.spec.get("task") == "pretraining"}
    begun = {cell.key for cell in known}
    unfinished = not begun.issuperset(asked) or not known or not all(is_finished(cell, records) for cell in known)
    stay: set[str] = set()
    if keep == "finals" or unfinished:
        stay |= finals | pretrainings
    return frozenset(run_id for run_id, record in records.items() if record.settled and run_id not in stay)


def is_finished(cell: CellFile, records: Mapping[str, Record]) -> bool:
    """Returns whether a cell has final runs, nothing left to train for them, and no trial under way."""
    searching = any(trial.state == "running" for trial in cell.trials)
    waiting = any(should_train(records.get(final.run_id), retry_failed=False) for final in cell.finals)
    return bool(cell.finals) and not searching and not waiting
