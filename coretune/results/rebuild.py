"""A cell's search file that was lost or corrupt, made again from the records of its runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from coretune.errors import RequestError
from coretune.results.cellfile import TrialEntry, TrialState
from coretune.results.record import Record
from coretune.results.retry import should_train
from coretune.spec.cells import Cell
from coretune.spec.components import Catalog
from coretune.spec.run import RunSpec
from coretune.spec.space import Space, Value

SpecsOf = Callable[[Mapping[str, Any]], Sequence[RunSpec]]


def rebuild_trials(
    records: Iterable[Record],
    cell: Cell,
    catalog: Catalog,
    *,
    specs_of: SpecsOf,
    score: Callable[[Record], float | None],
) -> tuple[TrialEntry, ...]:
    """Returns the trials whose runs were recorded: the default configuration first, then by the time of their start.

    A record belongs to the cell if the configuration read back from it gives a trial with a run of the same id again.
    What the pruner saw is not in the records, so `intermediate` stays empty.

    Args:
        records: All records of the results directory.
        cell: The cell.
        catalog: Where its method's parameters are declared.
        specs_of: The runs of a configuration (values by path), in the order of its trial.
        score: The objective's value of a completed run.
    """
    trials: dict[str, tuple[dict[str, Value], tuple[str, ...], dict[str, Record]]] = {}
    for record in sorted(records, key=lambda item: (item.started, item.run_id)):
        params = read_params(record, cell, catalog)
        if params is None:
            continue
        key = json.dumps(params, sort_keys=True)
        ids = trials[key][1] if key in trials else tuple(spec.run_id for spec in specs_of(params))
        if record.run_id in ids:
            trials.setdefault(key, (params, ids, {}))[2][record.run_id] = record
    ordered = sorted(trials.values(), key=lambda trial: trial[0] != dict(cell.method.defaults))
    return tuple(
        TrialEntry(
            number=number,
            params=params,
            runs=ids,
            **_outcome([runs.get(run_id) for run_id in ids], score),
        )
        for number, (params, ids, runs) in enumerate(ordered)
    )


def read_params(record: Record, cell: Cell, catalog: Catalog) -> dict[str, Value] | None:
    """Returns the configuration of a recorded run, by path; None if it is no run of the cell's method and recipe.

    Values equal to their defaults are absent in a record: they come back from the declarations.
    """
    try:
        spec = RunSpec.model_validate(record.spec)
        if spec.method.name != cell.method.name:
            return None
        rooms = {"method": catalog.parameters("method", spec.method), "train": spec.train}
    except (ValidationError, RequestError):
        return None
    found: dict[str, Value] = {}
    for path, space in cell.method.space.items():
        room, _, name = path.partition(".")
        value = getattr(rooms[room], name)
        if value is None or not space.contains(value):
            return None
        found[path] = _as_proposed(value, space)
    return found


def _as_proposed(value: Value, space: Space) -> Value:
    """Returns an option as the space spells it: Optuna tells 1 and 1.0 apart."""
    return space.options[space.options.index(value)] if space.kind == "choice" else value


def _outcome(runs: Sequence[Record | None], score: Callable[[Record], float | None]) -> dict[str, Any]:
    scores = [score(run) for run in runs if run is not None and run.status == "completed"]
    values = tuple(value for value in scores if value is not None)
    state: TrialState = "running"
    if any(run is not None and run.status == "failed" and not should_train(run, retry_failed=False) for run in runs):
        state = "failed"
    elif any(run is not None and run.status == "pruned" for run in runs):
        state = "pruned"
    elif len(values) == len(runs):
        state = "completed"
    return {"state": state, "values": values, "value": fmean(values) if state == "completed" else None}
