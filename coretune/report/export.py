"""The leaderboard as CSV, JSON, Markdown and a DataFrame.

CSV: RFC 4180, UTF-8, lines end in LF. Numbers have all their digits, what cannot be computed is an empty cell, and
`params`, `seeds`, `values`, `run_ids`, `datasets` are JSON within a cell. Mean rows follow the cells' rows.

JSON:

    {"schema_version": 1, "study": str, "metric": str, "direction": "max" | "min", "baseline": str | null,
     "selection_rule": str, "complete": bool, "rows": [ROW], "means": [ROW], "notes": [str]}

with one key per attribute of `coretune.report.leaderboard.Row` in a ROW: numbers are numbers, what cannot be computed
is null, params is an object, the others are lists.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from coretune.report.leaderboard import Leaderboard, Row

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = 1
AS_JSON = ("params", "seeds", "values", "run_ids", "datasets")
COLUMNS = (*(field.name for field in fields(Row) if field.name != "kind"), "kind")
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
UNITS = {"top1": "%", "mean_per_class": "%", "cross_entropy": "nats"}


def to_csv(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard as CSV: a header, the cells' rows, the mean rows."""
    return table_to_csv(COLUMNS, (_csv_row(row) for row in (*leaderboard.rows, *leaderboard.means)))


def to_json(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard as JSON; the schema stands at the top of this module."""
    return json.dumps(to_dict(leaderboard), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(leaderboard: Leaderboard) -> dict[str, Any]:
    """Returns the leaderboard as plain values; the schema stands at the top of this module."""
    plain = {field.name: getattr(leaderboard, field.name) for field in fields(leaderboard)}
    plain["rows"] = [_plain(row) for row in leaderboard.rows]
    plain["means"] = [_plain(row) for row in leaderboard.means]
    plain["notes"] = list(leaderboard.notes)
    return {"schema_version": SCHEMA_VERSION, **plain}


def to_dataframe(leaderboard: Leaderboard) -> pandas.DataFrame:
    """Returns the cells' rows and then the mean rows, with the CSV's columns; what cannot be computed is NaN."""
    import pandas

    rows = [_plain(row) for row in (*leaderboard.rows, *leaderboard.means)]
    frame = pandas.DataFrame({name: [row[name] for row in rows] for name in COLUMNS}, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(REALS, "float64") | {"rank": "Int64"})


def to_markdown(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard for people: what ± means is said, and how many seeds are behind it.

    Mean rows are left out where there is only one data set.
    """
    unit = UNITS.get(leaderboard.metric, "")
    digits = 2 if unit == "%" else 4
    versus = leaderboard.baseline or "baseline"
    header = [
        *("data set", "backbone", "method", "n (seeds)"),
        f"test {leaderboard.metric} {unit}, mean ± standard error".replace("  ", " "),
        "95 % interval",
        f"difference to {versus} (95 % interval)",
        *("p, paired t", "p, Wilcoxon", "rank", "status"),
    ]
    several = len({row.dataset for row in leaderboard.rows}) > 1
    rows = [_markdown_row(row, digits) for row in (*leaderboard.rows, *(leaderboard.means if several else ()))]
    lines = [f"## {leaderboard.study}", "", *_markdown_table(header, rows), ""]
    better = "higher" if leaderboard.direction == "max" else "lower"
    lines.append(
        f"{better.capitalize()} is better. ± is the standard error of the mean over n final seeds, not the standard "
        f"deviation; intervals are t-intervals over seeds; differences are paired by seed. "
        f"Selection: {_escaped(leaderboard.selection_rule) or 'none yet'}."
    )
    if not leaderboard.complete:
        lines += ["", "**Not complete**: not every final run has its test score."]
    if leaderboard.notes:
        lines += ["", *(f"- {_escaped(note)}" for note in leaderboard.notes)]
    return "\n".join(lines) + "\n"


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


def _plain(row: Row) -> dict[str, Any]:
    plain = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: _as_json(value) for name, value in plain.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(sorted(value.items())) if isinstance(value, Mapping) else value


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(map(_escaped, line)) + " |" for line in (header, ["---"] * len(header), *rows)]


def _markdown_row(row: Row, digits: int) -> list[str]:
    spread = "" if row.stderr is None else f" ± {row.stderr:.{digits}f}"
    reach = _interval(row.diff_ci_low, row.diff_ci_high, digits)
    return [
        row.dataset,
        row.backbone,
        row.method,
        str(row.n),
        "" if row.mean is None else f"{row.mean:.{digits}f}{spread}",
        _interval(row.ci_low, row.ci_high, digits).strip(" ()"),
        "" if row.diff is None else f"{row.diff:+.{digits}f}{reach}",
        p_text(row.p_paired_t),
        p_text(row.p_wilcoxon),
        "" if row.rank is None else str(row.rank),
        row.status,
    ]


def p_text(p: float | None) -> str:
    """Returns a p-value for people: three digits, `<0.001` below that, empty for None."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
