"""Further evaluations for people: a table each, metric by metric, the means of several data sets with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.evaluating import put, spec

from coretune.report.leaderboard import Leaderboard, build
from coretune.report.typeset_evaluated import decimals, evaluations_to_latex, evaluations_to_markdown

VALUES = {
    ("digits", "ce"): (60.0, 62.0, 64.0),
    ("digits", "core_tuning"): (66.0, 67.0, 71.0),
    ("shapes", "ce"): (40.0, 41.0, 43.0),
    ("shapes", "core_tuning"): (41.0, 43.0, 44.0),
}


@pytest.fixture
def attacked(builder) -> Leaderboard:
    """Two data sets, both methods attacked on both; calibration of one cell alone."""
    builder.study(datasets=["digits", "shapes"])
    for (dataset, method), values in VALUES.items():
        cell = builder.cell(dataset, method, [70.0, 71.0, 72.0])
        for final, value in zip(cell.finals, values, strict=True):
            put(
                builder, final.run_id, spec("attack", limit=50), {"robust_top1": value, "median_perturbation": 0.01}, {}
            )
        if (dataset, method) == ("digits", "ce"):
            put(builder, cell.finals[0].run_id, spec("calibration"), {"ece": 3.25}, {})
    return build(builder.store)


def test_markdown_has_a_table_each_and_means(attacked: Leaderboard) -> None:
    text = evaluations_to_markdown(attacked)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["## synthetic: attack", "## synthetic: calibration"]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert lines[0][:5] == ["metric", "data set", "backbone", "method", "n (seeds)"]
    assert ["robust_top1", "digits", "net", "ce", "3", "62.00 ± 1.15"] in [line[:6] for line in lines]
    core = next(line for line in lines if line[:4] == ["robust_top1", "digits", "net", "core_tuning"])
    assert core[7].startswith("+6.00 (") and core[8] == "0.009"
    mean = next(line for line in lines if line[:4] == ["robust_top1", "mean", "net", "core_tuning"])
    assert mean[4:6] == ["3", "55.33 ± 1.17"] and mean[7].startswith("+3.67 (")
    assert not any(line[:2] == ["ece", "mean"] for line in lines), "it is of one data set"
    assert "not the standard deviation" in text and '"limit":50' in text
    assert all(len(line) == 9 for line in lines)


def test_latex_has_a_rule_for_each_metric(attacked: Leaderboard) -> None:
    text = evaluations_to_latex(attacked)
    assert text.count(r"\begin{table}") == 2 and text.count(r"\midrule") == 3
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert all(row.count(" & ") == 8 for row in rows)
    assert r"robust\_top1 & mean & net & core\_tuning & 3 & 55.33 $\pm$ 1.17" in text
    assert r"\caption{synthetic: attack. $\pm$ is" in text


def test_of_nothing_there_is_nothing(attacked: Leaderboard) -> None:
    without = replace(attacked, evaluations=(), evaluation_means=())
    assert evaluations_to_markdown(without) == evaluations_to_latex(without) == ""


@pytest.mark.parametrize(("mean", "digits"), [(None, 3), (0.0, 3), (66.7, 2), (-12.0, 2), (1.5, 3), (0.0123, 5)])
def test_decimals_by_size(mean: float | None, digits: int) -> None:
    assert decimals(mean) == digits
