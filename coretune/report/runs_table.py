"""The table of all recorded runs: one row per run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from coretune.report.evaluated import further_labels
from coretune.report.reader import Reader, Run
from coretune.report.scores import final_evaluation, further_evaluations, read_scores
from coretune.results.cellfile import CellFile
from coretune.results.store import ResultsStore
from coretune.spec.augment import AugmentSpec
from coretune.spec.frozen import Frozen
from coretune.spec.run import BackboneSpec, DataSpec, RunSpec, TrainSpec

Role = Literal["search", "final", "prepare", "other"]
FIRST = ("run_id", "role", "cell", "index", "seed", "status", "cause")
LAST = ("seconds", "started", "finished", "host")
Table = list[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """What a run is for.

    Attributes:
        role: `search` for a trial's run, `final`, `prepare` for pre-training, `other` for a run of no cell of today.
        cell: Key of the cell.
        index: Number of the trial, or index of the final run.
        params: The configuration: values by path.
        evaluations: Labels and ids of a final run's evaluations; `test` are those on the test part that score it.
    """

    role: Role
    cell: str = ""
    index: int | None = None
    params: Mapping[str, Any] | None = None
    evaluations: tuple[tuple[str, str], ...] = ()


def runs_table(store: ResultsStore) -> Table:
    """Returns one row per recorded run, by column name.

    Columns: run_id; role (search, final, prepare, or other: of no cell of today); cell; index (number of the trial, or
    of the final run); seed; status; cause; `validation.last.<metric>`, `validation.best.<metric>`, and what else the
    record has as `metrics.<group>.<metric>`; for final runs `test.<metric>`, and `<label>.<metric>` of the study's
    further evaluations; every field of the RunSpec that differs among the trainings (or among the pre-trainings), by
    the path that a study uses (`method`, `method.eta`, `train.lr`); seconds, started, finished, host. A run that
    several trials or cells share names them all, separated by spaces. None where a run has no such value; a parameter
    of a component that is None is at the component's default.
    """
    reader = Reader(store)
    return runs_table_from(reader, reader.cells())


def runs_table_from(reader: Reader, cells: Iterable[CellFile]) -> Table:
    """Returns the table of all runs, given today's cells, without reading again what the reader knows."""
    cells = list(cells)
    places = _places(cells)
    further = further_labels(reader, [read_scores(reader, cell) for cell in cells])
    runs = reader.runs()
    varying = _varying(runs, places)
    measured = {name: _metric_column(name) for run in runs for name in run.metrics}
    evaluated = {run.run_id: _evaluated(reader, run, places.get(run.run_id, ()), further) for run in runs}
    columns = list(dict.fromkeys(name for metrics in evaluated.values() for name in metrics))
    table = []
    for run in runs:
        row = _head(run, places.get(run.run_id, ()))
        row |= {column: run.metrics.get(name) for name, column in measured.items()}
        row |= {name: evaluated[run.run_id].get(name) for name in columns}
        row |= {path: _value(run, path, places.get(run.run_id, ())) for path in varying}
        row |= {"seconds": run.seconds, "started": run.started, "finished": run.finished, "host": run.host}
        table.append(row)
    return table


def _places(cells: Iterable[CellFile]) -> dict[str, tuple[Place, ...]]:
    """Returns what each run is for, by run id."""
    found: dict[str, tuple[Place, ...]] = {}
    for cell in cells:
        for trial in cell.trials:
            place = Place("search", cell.key, trial.number, trial.params)
            for run_id in trial.runs:
                found[run_id] = (*found.get(run_id, ()), place)
        scoring = [final_evaluation(each.evaluation) for each in cell.objectives] or [final_evaluation(cell.evaluation)]
        specs = [*(("test", spec) for spec in scoring if spec is not None), *further_evaluations(cell).items()]
        chosen = {choice.trial: choice.params for choice in cell.choices}
        only = cell.choice.params if cell.choice is not None else {}
        for final in cell.finals:
            evaluations = tuple((label, spec.eval_id(final.run_id)) for label, spec in specs)
            params = only if final.trial is None else chosen.get(final.trial, {})
            place = Place("final", cell.key, final.index, params, evaluations)
            found[final.run_id] = (*found.get(final.run_id, ()), place)
    return found


def _head(run: Run, places: Sequence[Place]) -> dict[str, Any]:
    role: Role = places[0].role if places else ("prepare" if run.task == "pretraining" else "other")
    cause = f"{run.cause.kind}: {run.cause.message}" if run.cause is not None else None
    indices = list(dict.fromkeys(place.index for place in places))
    values = (
        run.run_id,
        role,
        " ".join(dict.fromkeys(place.cell for place in places)) or None,
        indices[0] if len(indices) == 1 else (" ".join(map(str, indices)) or None),
        run.fields.get("seed"),
        run.status,
        cause,
    )
    return dict(zip(FIRST, values, strict=True))


def _evaluated(
    reader: Reader, run: Run, places: Sequence[Place], further: Mapping[str, Mapping[str, str]]
) -> Mapping[str, float]:
    """Returns the metrics of a run's evaluations, by column name."""
    asked = [item for place in places for item in place.evaluations]
    found: dict[str, float] = {}
    for label, eval_id in dict.fromkeys((*asked, *further.get(run.run_id, {}).items())):
        metrics = reader.metrics(run.run_id, eval_id) or {}
        found |= {f"{label}.{name}": value for name, value in metrics.items()}
    return found


def _varying(runs: Sequence[Run], places: Mapping[str, Sequence[Place]]) -> list[str]:
    """Returns the paths whose values differ among the runs of one task, sorted; never `seed`, which has its column."""
    found: set[str] = set()
    for task in {run.task for run in runs}:
        seen: dict[str, Any] = {}
        group = [run for run in runs if run.task == task]
        for path in {path for run in group for path in run.fields} | _searched(group, places):
            for run in group:
                value = _value(run, path, places.get(run.run_id, ()))
                if seen.setdefault(path, value) != value:
                    found.add(path)
                    break
    return sorted(found - {"seed", "task"})


def _searched(runs: Sequence[Run], places: Mapping[str, Sequence[Place]]) -> set[str]:
    return {path for run in runs for place in places.get(run.run_id, ()) for path in place.params or ()}


def _value(run: Run, path: str, places: Sequence[Place]) -> Any:
    """Returns a run's value: as hashed, else as searched (a default is not hashed), else the recipe's default."""
    if path in run.fields:
        return run.fields[path]
    for place in places:
        if place.params and path in place.params:
            return place.params[path]
    return _DEFAULTS.get(path)


def _metric_column(name: str) -> str:
    """Returns the column of a recorded metric: `last` and `best` are measured on the validation part."""
    return f"validation.{name}" if name.startswith(("last.", "best.")) else f"metrics.{name}"


def _defaults(prefix: str, model: type[Frozen]) -> dict[str, Any]:
    """Returns the defaults of a part of the RunSpec by path; fields that must be given have none."""
    given = {name: field.default for name, field in model.model_fields.items() if not field.is_required()}
    return {
        prefix + name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if not isinstance(value, Frozen)
    }


_DEFAULTS: Mapping[str, Any] = {
    **_defaults("", RunSpec),
    **_defaults("data.", DataSpec),
    **_defaults("data.augment.", AugmentSpec),
    **_defaults("backbone.", BackboneSpec),
    **_defaults("train.", TrainSpec),
}
