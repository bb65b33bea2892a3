"""The leaderboard as CSV, JSON and a DataFrame, with all its digits.

CSV: RFC 4180, UTF-8, lines end in LF. Numbers have all their digits, what cannot be computed is an empty cell, and
`params`, `seeds`, `values`, `run_ids`, `datasets` are JSON within a cell. Mean rows follow the cells' rows.

JSON:

    {"schema_version": 1, "study": str, "metric": str, "direction": "max" | "min", "baseline": str | null,
     "selection_rule": str, "complete": bool, "rows": [ROW], "means": [ROW], "notes": [str],
     "evaluations": [FURTHER], "evaluation_means": [FURTHER]}

with one key per attribute of `coretune.report.leaderboard.Row` in a ROW, and one per attribute of
`coretune.report.evaluated.EvaluatedRow` in a FURTHER: numbers are numbers, what cannot be computed is null, params is
an object, the others are lists. Of two objectives alone there are the column and key `choice`, and in JSON

    "objectives": [[str, "max" | "min"], ...], "front": [POINT]

with one key per attribute of `coretune.report.front.FrontPoint` in a POINT.

Further evaluations as CSV have one column per attribute of `EvaluatedRow`; their mean rows follow the cells' rows.

Planned contrasts are written likewise, with one column or key per attribute of `coretune.report.contrasts.Contrast`:

    {"schema_version": 1, "study": str, "metric": str, "direction": "max" | "min", "level": float,
     "equivalence": float | null, "complete": bool, "rows": [ROW], "notes": [str]}

Two results directories side by side, with one column or key per entry of `CHANGE_COLUMNS`:

    {"schema_version": 1, "first": str, "second": str, "metric": str, "direction": "max" | "min",
     "rows": [ROW], "notes": [str]}
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from coretune.report.compare import Change, Changes
from coretune.report.contrasts import Contrast, Contrasts
from coretune.report.evaluated import EvaluatedRow
from coretune.report.leaderboard import Leaderboard, Row

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = 1
AS_JSON = ("params", "seeds", "values", "run_ids", "datasets")
CHOICE = "choice"
COLUMNS = (*(field.name for field in fields(Row) if field.name not in ("kind", CHOICE)), "kind")
EVALUATED_COLUMNS = tuple(field.name for field in fields(EvaluatedRow) if field.name != CHOICE)
CHANGE_COLUMNS = (
    *("dataset", "backbone", "method", "n_first", "mean_first", "n_second", "mean_second", "difference"),
    *("ci_low", "ci_high", "p_t", "p_wilcoxon", "paired", "n", "same_runs", "kind"),
)
REALS = (
    "mean",
    "std",
    "stderr",
    "ci_low",
    "ci_high",
    "diff",
    "diff_ci_low",
    "diff_ci_high",
    "p_paired_t",
    "p_wilcoxon",
)


def to_csv(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard as CSV: a header, the cells' rows, the mean rows."""
    columns = _with_choice(COLUMNS, leaderboard)
    return table_to_csv(columns, (_csv_row(row) for row in (*leaderboard.rows, *leaderboard.means)))


def to_json(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard as JSON; the schema stands at the top of this module."""
    return json.dumps(to_dict(leaderboard), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(leaderboard: Leaderboard) -> dict[str, Any]:
    """Returns the leaderboard as plain values; the schema stands at the top of this module."""
    plain = {field.name: getattr(leaderboard, field.name) for field in fields(leaderboard)}
    columns = _with_choice(COLUMNS, leaderboard)
    plain["rows"] = [_only(_plain(row), columns) for row in leaderboard.rows]
    plain["means"] = [_only(_plain(row), columns) for row in leaderboard.means]
    plain["notes"] = list(leaderboard.notes)
    columns = _with_choice(EVALUATED_COLUMNS, leaderboard)
    plain["evaluations"] = [_only(asdict(row), columns) for row in leaderboard.evaluations]
    plain["evaluation_means"] = [_only(asdict(row), columns) for row in leaderboard.evaluation_means]
    plain["objectives"] = [list(objective) for objective in leaderboard.objectives]
    plain["front"] = [asdict(point) for point in leaderboard.front]
    if not leaderboard.objectives:
        del plain["objectives"], plain["front"]
    return {"schema_version": SCHEMA_VERSION, **plain}


def front_to_csv(leaderboard: Leaderboard) -> str:
    """Returns the trials of two objectives as CSV: a header, a row per completed trial, cell by cell."""
    metrics = [metric for metric, _ in leaderboard.objectives]
    columns = ("dataset", "backbone", "method", "trial", *metrics, "on_front", "roles", "params")
    return table_to_csv(columns, (asdict(point) | dict(point.scores) for point in leaderboard.front))


def front_to_json(leaderboard: Leaderboard) -> str:
    """Returns the trials of two objectives as JSON: `study`, `objectives` and `front` of the leaderboard's schema."""
    whole = to_dict(leaderboard)
    plain = {key: whole[key] for key in ("schema_version", "study", "objectives", "front")}
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _with_choice(columns: Sequence[str], leaderboard: Leaderboard) -> tuple[str, ...]:
    """Returns the columns of a leaderboard's rows: of two objectives with the choice, after the method."""
    if not leaderboard.objectives:
        return tuple(columns)
    place = list(columns).index("method") + 1
    return (*columns[:place], CHOICE, *columns[place:])


def _only(plain: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name in columns}


def evaluations_to_csv(leaderboard: Leaderboard) -> str:
    """Returns the further evaluations as CSV: a header, a row per cell, evaluation and metric, then their means."""
    rows = (*leaderboard.evaluations, *leaderboard.evaluation_means)
    return table_to_csv(_with_choice(EVALUATED_COLUMNS, leaderboard), map(asdict, rows))


def contrasts_to_csv(contrasts: Contrasts) -> str:
    """Returns planned contrasts as CSV: a header, a row per contrast."""
    return table_to_csv([field.name for field in fields(Contrast)], map(asdict, contrasts.rows))


def contrasts_to_json(contrasts: Contrasts) -> str:
    """Returns planned contrasts as JSON; the schema stands at the top of this module."""
    return json.dumps(contrasts_to_dict(contrasts), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def contrasts_to_dict(contrasts: Contrasts) -> dict[str, Any]:
    """Returns planned contrasts as plain values; the schema stands at the top of this module."""
    plain = asdict(contrasts)
    return {"schema_version": SCHEMA_VERSION, **plain, "rows": list(plain["rows"]), "notes": list(plain["notes"])}


def changes_to_csv(changes: Changes) -> str:
    """Returns two directories side by side as CSV: a header, the cells, the mean rows."""
    return table_to_csv(CHANGE_COLUMNS, map(_plain_change, changes.rows))


def changes_to_json(changes: Changes) -> str:
    """Returns two directories side by side as JSON; the schema stands at the top of this module."""
    return json.dumps(changes_to_dict(changes), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def changes_to_dict(changes: Changes) -> dict[str, Any]:
    """Returns two directories side by side as plain values; the schema stands at the top of this module."""
    plain = {field.name: getattr(changes, field.name) for field in fields(changes)}
    rows = [_plain_change(row) for row in changes.rows]
    return {"schema_version": SCHEMA_VERSION, **plain, "rows": rows, "notes": list(changes.notes)}


def to_dataframe(leaderboard: Leaderboard) -> pandas.DataFrame:
    """Returns the cells' rows and then the mean rows, with the CSV's columns; what cannot be computed is NaN."""
    import pandas

    rows = [_plain(row) for row in (*leaderboard.rows, *leaderboard.means)]
    columns = list(_with_choice(COLUMNS, leaderboard))
    frame = pandas.DataFrame({name: [row[name] for row in rows] for name in columns}, columns=columns)
    return frame.astype(dict.fromkeys(REALS, "float64") | {"rank": "Int64"})


def table_to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns rows as CSV with all digits of every number; None is an empty cell, a list or mapping is JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else value


def _csv_row(row: Row) -> dict[str, Any]:
    plain = _plain(row)
    return plain | {name: json.dumps(plain[name], ensure_ascii=False) for name in AS_JSON}


def _plain_change(row: Change) -> dict[str, Any]:
    found, reach = row.comparison, row.comparison.interval
    values = {
        **{field.name: getattr(row, field.name) for field in fields(row)},
        **{name: getattr(found, name) for name in ("n", "difference", "p_t", "p_wilcoxon")},
        "ci_low": None if reach is None else reach.low,
        "ci_high": None if reach is None else reach.high,
    }
    return {name: values[name] for name in CHANGE_COLUMNS}


def _plain(row: Row) -> dict[str, Any]:
    plain = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: _as_json(value) for name, value in plain.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(sorted(value.items())) if isinstance(value, Mapping) else value
