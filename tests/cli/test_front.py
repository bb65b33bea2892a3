"""`coretune leaderboard front`, and the leaderboard of two objectives on the screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.driving import drive, make_book, resolved
from support.fronts import front_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("front") / "results"
    front_results(root)
    return root


def test_the_front_is_shown_and_drawn(cli: Any, results: Path, tmp_path: Path) -> None:
    said = cli("leaderboard", "front", str(results), "--figure", str(tmp_path / "f.png"))
    assert said.code == 0, said.err
    assert "digits · plain · ce" in said.out and "best_robust_top1" in said.out and "knee" in said.out
    assert "of 8 trials" in said.out and "train.lr" in said.out
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG") and "f.png" in said.err


def test_it_is_written_for_other_programs(cli: Any, results: Path, tmp_path: Path) -> None:
    found = json.loads(cli("leaderboard", "front", str(results), "--json").out)
    assert len(found["front"]) == 16 and found["objectives"] == [["top1", "max"], ["robust_top1", "max"]]
    cli("leaderboard", "front", str(results), "-o", str(tmp_path / "front.csv"))
    assert (tmp_path / "front.csv").read_text().startswith("dataset,backbone,method,trial,top1,robust_top1,on_front")


def test_the_leaderboard_has_a_table_for_each_choice_and_metric(cli: Any, results: Path) -> None:
    out = cli("leaderboard", "show", str(results)).out
    for role in ("best_top1", "best_robust_top1", "knee"):
        assert f"tiny, {role}, test top1" in out and f"tiny, {role}, test robust_top1" in out


def test_a_cell_shows_both_values_and_every_choice(cli: Any, results: Path) -> None:
    out = cli("study", "show", str(results), "--only", "method=ce").out
    assert "robust_top1" in out and "best validation top1" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--figure", "x.jpg"], "a figure is written as png, pdf, svg"),
        (["--format", "tex"], "a front is written as csv or json"),
    ],
)
def test_what_cannot_be_written_is_refused(cli: Any, results: Path, words: list[str], said: str) -> None:
    done = cli("leaderboard", "front", str(results), *words)
    assert done.code == 2 and said in " ".join(done.err.split())


def test_a_study_of_one_objective_has_none(cli: Any, tmp_path: Path) -> None:
    drive(make_book(resolved(), tmp_path), tmp_path)
    done = cli("leaderboard", "front", str(tmp_path))
    assert done.code == 2 and "has one objective; objective.metric: [top1, robust_top1] has two" in " ".join(
        done.err.split()
    )
