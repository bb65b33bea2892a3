from __future__ import annotations

import csv
import io
import json

import pytest

from coretune.report.contrasts import Contrasts, build
from coretune.report.export import contrasts_to_csv, contrasts_to_json
from coretune.report.typeset_contrasts import contrasts_to_latex, contrasts_to_markdown

COLUMNS = [
    *("dataset", "backbone", "first", "second", "n", "seeds", "difference", "ci_low", "ci_high"),
    *("p", "p_holm", "p_tost", "p_tost_holm", "mdd", "verdict"),
]


@pytest.fixture
def contrasts(builder) -> Contrasts:
    """Two data sets; on the second one nothing is there yet."""
    builder.study(
        datasets=["digits", "shapes"],
        finals={"seeds": 3},
        contrasts={"equivalence": 0.5, "pairs": [["ce", "core_tuning"]]},
    )
    builder.cell("digits", "ce", [100 / 3, 29.0, 31.1])
    builder.cell("digits", "core_tuning", [36.0, 32.0, 34.25])
    found = build(builder.store)
    assert found is not None
    return found


def test_csv_has_all_digits_and_empty_cells(contrasts: Contrasts) -> None:
    one, two = csv.DictReader(io.StringIO(contrasts_to_csv(contrasts)))
    assert list(one) == COLUMNS
    assert float(one["difference"]) == contrasts.rows[0].difference
    assert [two[name] for name in ("n", "difference", "p", "mdd", "verdict")] == ["0", "", "", "", "incomplete"]


def test_json_is_what_its_schema_says(contrasts: Contrasts) -> None:
    value = json.loads(contrasts_to_json(contrasts), parse_constant=pytest.fail)
    keys = ("schema_version", "study", "metric", "direction", "level", "equivalence", "complete", "rows", "notes")
    assert tuple(value) == keys
    assert (value["level"], value["equivalence"], value["complete"]) == (0.05, 0.5, False)
    assert list(value["rows"][0]) == COLUMNS and value["rows"][1]["p"] is None
    assert value["notes"] == list(contrasts.notes)


def test_markdown_says_what_the_numbers_are(contrasts: Contrasts) -> None:
    text = contrasts_to_markdown(contrasts)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {10}
    assert rows[2][:4] == ["digits", "net", "ce − core_tuning", "3"] and rows[2][4].startswith("-2.94 (")
    assert rows[2][-1] == "worse" and rows[3][4:] == ["", "", "", "", "", "incomplete"]
    assert "over all 2 contrasts" in text and "0.05 / 2" in text and "against ±0.5" in text
    assert "- nothing says when the contrasts were planned" in text


def test_latex_is_a_booktabs_table(contrasts: Contrasts) -> None:
    lines = contrasts_to_latex(contrasts).splitlines()
    rows = [line for line in lines if line.endswith(r" \\")]
    columns = next(line for line in lines if line.startswith(r"\begin{tabular}")).rpartition("{")[2].rstrip("}")
    assert all(row.count(" & ") == len(columns) - 1 for row in rows)
    assert rows[1].startswith(r"digits & net & ce $-$ core\_tuning & 3 & $-$2.94 ($-$")
    assert lines.count(r"\midrule") == 2
    assert any(line.startswith("% nothing says when") for line in lines)
