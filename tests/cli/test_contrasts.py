from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from coretune.report.contrasts import Contrast, Contrasts
from coretune_cli.contrasts import contrast_board

STUDY = """\
name: mine
datasets: {digits: {}}
backbones: {net: {}}
methods: {ce: {}, core_tuning: {}, scl: {}}
"""


def row(first: str = "core_tuning", second: str = "ce", **changes: Any) -> Contrast:
    values: dict[str, Any] = {
        "dataset": "digits",
        "backbone": "moco_small",
        "first": first,
        "second": second,
        "n": 16,
        "seeds": 16,
        "difference": 2.231,
        "ci_low": 1.1,
        "ci_high": 3.36,
        "p": 0.0004,
        "p_holm": 0.0012,
        "p_tost": 0.97,
        "p_tost_holm": 1.0,
        "mdd": 1.87,
        "verdict": "better",
    }
    return Contrast(**{**values, **changes})


NOTHING = dict.fromkeys(("difference", "ci_low", "ci_high", "p", "p_holm", "p_tost", "p_tost_holm", "mdd"))
THREE = Contrasts(
    study="confirm",
    metric="top1",
    direction="max",
    level=0.05,
    equivalence=0.5,
    complete=False,
    rows=(
        row(),
        row(second="mixture_ce", difference=-0.31, ci_low=-0.45, ci_high=-0.2, verdict="worse, but within ±0.5"),
        row("core_tuning_released", n=3, verdict="incomplete", **NOTHING),
    ),
    notes=("planned on 2026-11-24 before any test score was there",),
)


def drawn(contrasts: Contrasts, width: int) -> str:
    out = Console(width=width, record=True, file=io.StringIO(), force_terminal=False, markup=False, highlight=False)
    out.print(contrast_board(contrasts, width))
    return out.export_text(styles=False)


@pytest.mark.parametrize("width", [80, 140])
def test_the_table(width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"contrasts_{width}", drawn(THREE, width))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_fits(width: int) -> None:
    several = replace(THREE, rows=(*THREE.rows, row(dataset="a_data_set_of_a_long_name", backbone="resnet50")))
    assert max(map(len, drawn(several, width).splitlines())) <= width


def test_the_table_says_what_its_numbers_mean() -> None:
    text = " ".join(drawn(THREE, 100).split())
    assert "adjusted over all 3 contrasts of the study; better or worse if at most 0.05" in text
    assert "against ±0.5" in text and "level 0.05 / 3" in text
    assert "Note: planned on 2026-11-24 before any test score was there." in text
    assert "TOST" not in drawn(replace(THREE, equivalence=None), 140)


def results(text: str) -> Path:
    folder = Path("results/mine")
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(STUDY + text)
    return folder


def test_a_study_without_contrasts_hears_what_to_write(cli: Any) -> None:
    results("baseline: ce\n")
    said = cli("leaderboard", "contrasts", "mine")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "coretune: the study mine plans no contrasts; write into its file, before it runs: "
        "contrasts: {pairs: [[core_tuning, ce], [scl, ce]]}\n"
    )


def test_a_study_that_cannot_be_read(cli: Any) -> None:
    results("contrasts: {pairs: [[ce]]}\n")
    said = cli("leaderboard", "contrasts")
    assert said.code == 2 and "contrasts.pairs.0" in said.err


def test_the_formats(cli: Any) -> None:
    results("contrasts: {pairs: [[core_tuning, ce]]}\n")
    assert "core_tuning − ce" in cli("leaderboard", "contrasts", "mine").out
    for words in (["--json"], ["-f", "json"]):
        assert json.loads(cli("leaderboard", "contrasts", "mine", *words).out)["rows"][0]["verdict"] == "incomplete"
    (found,) = csv.DictReader(io.StringIO(cli("leaderboard", "contrasts", "mine", "-f", "csv").out))
    assert (found["first"], found["n"]) == ("core_tuning", "0")
    assert "| core_tuning − ce |" in cli("leaderboard", "contrasts", "mine", "-f", "md").out
    assert "booktabs" in cli("leaderboard", "contrasts", "mine", "-f", "tex").out
    said = cli("leaderboard", "contrasts", "mine", "-o", "deep/contrasts.tex")
    assert said.code == 0 and said.out == "" and "booktabs" in Path("deep/contrasts.tex").read_text()
