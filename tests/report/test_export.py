from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pandas
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coretune.report.export import COLUMNS, REALS, to_csv, to_dataframe, to_json
from coretune.report.leaderboard import Leaderboard, build

ISSUE = ["dataset", "backbone", "method", "metric", "selection_rule", "n", "mean", "std", "stderr", "ci_low", "ci_high"]


def read_back(text: str) -> pandas.DataFrame:
    """Reads CSV with exact numbers in every version of pandas (its own default was off by a last bit before 3)."""
    number = dict.fromkeys(REALS, lambda cell: float(cell) if cell else math.nan)
    return pandas.read_csv(io.StringIO(text), converters=number)


def test_csv_read_back_has_the_same_numbers(leaderboard: Leaderboard) -> None:
    frame = read_back(to_csv(leaderboard))
    rows = [*leaderboard.rows, *leaderboard.means]
    assert list(frame.columns) == list(COLUMNS) and set(ISSUE) <= set(COLUMNS)
    assert len(frame) == len(rows) == 6
    for name in REALS:
        found = [None if pandas.isna(value) else value for value in frame[name]]
        assert found == [getattr(row, name) for row in rows]
    assert list(frame["n"]) == [row.n for row in rows]
    assert [json.loads(text) for text in frame["params"]] == [dict(row.params) for row in rows]
    assert [json.loads(text) for text in frame["values"]] == [list(row.values) for row in rows]
    assert [tuple(json.loads(text)) for text in frame["run_ids"]] == [row.run_ids for row in rows]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    number=st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_text_and_number_survives_csv(leaderboard: Leaderboard, text: str, number: float) -> None:
    nasty = replace(leaderboard.rows[0], selection_rule=f'a "quoted", {text}\nline', params={"x": text}, mean=number)
    back = read_back(to_csv(replace(leaderboard, rows=(nasty,))))
    assert back["selection_rule"][0] == nasty.selection_rule
    assert json.loads(back["params"][0]) == {"x": text}
    assert back["mean"][0] == number


def test_json_has_numbers_and_nulls(leaderboard: Leaderboard) -> None:
    value = json.loads(to_json(leaderboard))
    assert value["schema_version"] == 1
    assert set(value) == {
        *("schema_version", "study", "metric", "direction", "baseline", "selection_rule"),
        *("complete", "rows", "means", "notes", "evaluations", "evaluation_means"),
    }
    assert set(value["rows"][0]) == set(COLUMNS)
    assert value["rows"][0]["mean"] == leaderboard.rows[0].mean
    assert value["rows"][0]["diff"] is None
    assert value["rows"][3]["mean"] is None
    assert value["rows"][1]["params"] == {"method.eta": 0.1, "train.lr": 1 / 30}
    assert value["means"][0]["datasets"] == ["digits"]


def test_dataframe_has_numbers(leaderboard: Leaderboard) -> None:
    frame = to_dataframe(leaderboard)
    assert list(frame.columns) == list(COLUMNS)
    assert all(frame[name].dtype == "float64" for name in REALS)
    assert frame["mean"].isna().sum() == 1
    assert frame["rank"][1] == 1
    assert frame["params"][1]["method.eta"] == 0.1


def test_dataframe_of_nothing(builder) -> None:
    frame = to_dataframe(build(builder.store))
    assert list(frame.columns) == list(COLUMNS) and len(frame) == 0
    assert to_csv(build(builder.store)) == ",".join(COLUMNS) + "\n"
