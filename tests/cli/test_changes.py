from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from coretune.report.compare import Change, Changes
from coretune.report.statistics import compare_paired, compare_unpaired
from coretune_cli.changes import change_board

STUDY = "name: {name}\ndatasets: {{digits: {{}}}}\nbackbones: {{net: {{}}}}\nmethods: [ce]\n"


def change(method: str, first: list[float], second: list[float], *, paired: bool, same: bool = False) -> Change:
    comparison = compare_paired(second, first) if paired else compare_unpaired(second, first)
    means = [sum(values) / len(values) if values else None for values in (first, second)]
    return Change(
        *("cell", "digits", "moco_small", method),
        *(len(first), means[0], len(second), means[1], paired, comparison, same),
    )


FOUR = Changes(
    first="results/monday",
    second="results/tuesday",
    metric="top1",
    direction="max",
    rows=(
        change("ce", [70.0, 72.0, 71.0], [70.0, 72.0, 71.0], paired=True, same=True),
        change("core_tuning", [70.0, 72.0, 71.0], [73.1, 75.0, 74.2], paired=True),
        change("scl", [70.0, 72.0, 71.0], [60.0, 61.0], paired=False),
        change("l2_sp", [70.0, 72.0], [], paired=False),
    ),
    notes=("one of them is not complete: not every final run has its test score",),
)


def drawn(changes: Changes, width: int) -> str:
    out = Console(width=width, record=True, file=io.StringIO(), force_terminal=False, markup=False, highlight=False)
    out.print(change_board(changes, width))
    return out.export_text(styles=False)


@pytest.mark.parametrize("width", [80, 140])
def test_the_table(width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"changes_{width}", drawn(FOUR, width))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_fits(width: int) -> None:
    assert max(map(len, drawn(FOUR, width).splitlines())) <= width


def results(name: str) -> Path:
    folder = Path("results") / name
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(STUDY.format(name=name))
    return folder


def test_two_directories_by_name(cli: Any) -> None:
    results("monday"), results("tuesday")
    said = cli("leaderboard", "compare", "monday", "tuesday", "--json")
    assert said.code == 0 and json.loads(said.out)["second"] == "results/tuesday"
    assert "no cell has begun" in cli("leaderboard", "compare", "monday", "tuesday").out
    said = cli("leaderboard", "compare", "monday", "tuesday", "-o", "changes.csv")
    assert said.code == 0 and Path("changes.csv").read_text().startswith("dataset,backbone,method,n_first")


def test_a_directory_that_is_not_there(cli: Any) -> None:
    results("monday")
    said = cli("leaderboard", "compare", "monday", "wednesday")
    assert said.code == 2 and "wednesday" in said.err
    assert cli("leaderboard", "compare", "monday").code == 2
