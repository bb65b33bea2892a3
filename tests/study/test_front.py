"""A study of clean and robust accuracy under Ray: from its file to the front, its final runs and their figure."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support.command import coretune, records, write_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SMALL = """
name: tiny
seed: 3
datasets: {digits: {validation: 60, test: 60, labels_per_class: 8}}
backbones: {plain: {arch: small_resnet, params: {widths: [8, 16]}}}
methods:
  ce: {}
  ce_fgsm: {method: ce, adversary: {attack: fgsm_rs, eps: 32/255, validation_steps: 3}}
train: {epochs: 16, batch: 20, contrast_batch: 20, evaluate_every: 16, lr: {log_uniform: [0.003, 0.3], default: 0.1}}
search: {sampler: tpe, trials: 6}
finals: {seeds: 2}
objective: {metric: [top1, robust_top1], attack: {eps: 16/255, steps: 3}}
"""


def test_a_front_is_searched_its_choices_are_trained_again_and_drawn(tmp_path: Path) -> None:
    file = write_study(tmp_path, SMALL)
    done = coretune("study", "run", str(file), folder=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "tiny"
    made = records(results)

    for method in ("ce", "ce_fgsm"):
        search = json.loads((results / "cells" / f"digits--{method}--plain" / "search.json").read_text())
        trials = {trial["number"]: trial for trial in search["trials"]}
        assert [trial["state"] for trial in trials.values()] == ["completed"] * 6
        roles = {role: choice for choice in search["choices"] for role in choice["roles"]}
        assert set(roles) == {"best_top1", "best_robust_top1", "knee"}
        for metric in ("top1", "robust_top1"):
            best = max(trial["scores"][metric] for trial in trials.values())
            assert roles[f"best_{metric}"]["scores"][metric] == best
        assert len(search["finals"]) == 2 * len(search["choices"])
        for final in search["finals"]:
            found = {
                json.loads(path.read_text())["spec"]["evaluation"]["name"]
                for path in (results / "runs" / final["run_id"] / "evals").glob("*.json")
            }
            assert found == {"attack", "classification"}
            record = json.loads((results / "runs" / final["run_id"] / "record.json").read_text())
            assert 0 <= record["metrics"]["last"]["robust_top1"] <= record["metrics"]["last"]["top1"] <= 100

    with (results / "leaderboard.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "cell"]
    assert len(rows) == 2 * 3 * 2 and {row["n"] for row in rows} == {"2"}
    assert {row["choice"] for row in rows} == {"best_top1", "best_robust_top1", "knee"}

    drawn = coretune("leaderboard", "front", "results/tiny", "--figure", "front.png", folder=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "front.png").stat().st_size > 10_000

    again = coretune("study", "resume", "results/tiny", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert records(results) == made, "nothing is trained again"
