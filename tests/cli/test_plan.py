from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from coretune_cli.plan import plan_view

SHIPPED = Path(__file__).resolve().parents[2] / "studies" / "quickstart.yaml"


def test_plan_of_the_quickstart(cli: Any) -> None:
    said = cli("study", "plan", "quickstart")
    assert said.code == 0 and said.err == ""
    assert "core_tuning" in said.out and "2 cells, 16 trials, 29 runs: 0 recorded, 29 to train" in said.out
    assert "train.lr" in said.out and "prepare" in said.out
    assert not Path("results").exists()


def test_plan_as_json_with_overrides(cli: Any) -> None:
    said = cli(
        "study", "plan", str(SHIPPED), "--set", "search.trials=3", "--only", "method=ce", "--json", "--out", "there"
    )
    value = json.loads(said.out)
    assert [cell["method"] for cell in value["cells"]] == ["ce"]
    assert value["totals"]["trials"] == 3 and value["results"] == "there"


def test_plan_without_the_data(cli: Any) -> None:
    Path("s.yaml").write_text(
        "name: s\nbackbones: [small_resnet]\nmethods: [ce]\ndatasets:\n  photos: {dataset: folder, path: ./nowhere}\n"
    )
    said = cli("study", "plan", "s.yaml")
    assert said.code == 0 and "unknown (data absent)" in said.out
    assert "missing  data set photos is missing: " in said.out


def test_plan_counts_what_is_recorded_of_the_cells_whose_data_are_there(cli: Any) -> None:
    Path("s.yaml").write_text(LACKING)
    said = cli("study", "plan", "s.yaml", "--only", "backbone=net")
    assert " runs; recorded: 0 of 6, unknown of the others (data absent)" in said.out


def test_plan_says_what_it_would_cost(cli: Any) -> None:
    said = cli("study", "plan", "quickstart", "--cost", "--set", "preset=smoke", "--only", "method=ce")
    assert said.code == 0 and "1 run of" in said.out and "images/s" in said.out
    assert re.search(r"about .* on [0-9]+ slots?", said.out)
    value = json.loads(cli("study", "plan", "quickstart", "--cost", "--json", "--set", "preset=smoke").out)
    assert value["cost"]["seconds"] > 0 and len(value["cost"]["items"]) == 3
    assert not Path("results").exists()


LACKING = """\
name: s
methods: [ce]
datasets: {digits: {}, photos: {path: ./photos}}
backbones: {net: {arch: small_resnet, params: {widths: [4, 8]}}, other: {arch: small_resnet, checkpoint: weights.pth}}
"""


def test_plan_reads_the_data_and_the_checkpoints(cli: Any) -> None:
    import torch

    from coretune.nets.small_resnet import SmallResNet
    from coretune.spec.catalog.backbones import SmallResNetParameters

    Path("s.yaml").write_text(LACKING)
    said = cli("study", "plan", "s.yaml", "--check")
    text = " ".join(said.out.split())
    assert said.code == 1 and "there data set digits: 1,797 images of 10 classes: " in text
    assert "missing data set photos is missing: " in text and "missing checkpoint of other is missing: " in text
    assert cli("study", "plan", "s.yaml", "--check", "--only", "dataset=digits", "--only", "backbone=net").code == 0
    assert cli("study", "plan", "s.yaml", "--check", "--only", "dataset=photos").code == 3
    Path("weights.pth").write_bytes(b"<!DOCTYPE html>")
    said = cli("study", "plan", "s.yaml", "--check")
    assert said.code == 3 and "wrong checkpoint other: " in " ".join(said.out.split())
    torch.save(SmallResNet(SmallResNetParameters()).state_dict(), "weights.pth")
    value = json.loads(cli("study", "plan", "s.yaml", "--check", "--json").out)
    assert [(item["label"], item["state"]) for item in value["check"]] == [
        ("digits", "there"),
        ("photos", "missing"),
        ("other", "there"),
    ]
    assert "match (100 %)" in value["check"][2]["text"]
    torch.save(SmallResNet(SmallResNetParameters(widths=(4, 8))).state_dict(), "weights.pth")
    Path("photos/cat").mkdir(parents=True)
    Path("photos/cat/a.png").touch()
    said = cli("study", "plan", "s.yaml", "--check")
    text = " ".join(said.out.split())
    assert said.code == 3 and "wrong data set photos: " in text and text.count("a single class, cat") == 1
    assert "is of another architecture than small_resnet" in text
    assert not Path("results").exists()


def test_plan_refuses_all_problems_at_once(cli: Any) -> None:
    said = cli("study", "plan", "quickstart", "--set", "search.trialz=3", "--set", "seed=-1")
    assert said.code == 2 and "trials" in said.err and "seed" in said.err


@pytest.mark.parametrize("recorded", [None, 4])
def test_a_plan_is_drawn_whatever_is_known(recorded: int | None) -> None:
    import io

    from rich.console import Console

    cell = {"dataset": "[b]d[/b]", "method": "ce", "backbone": "b", "trials": 2, "runs_search": 2, "runs_final": 3}
    value = {
        "study": "s",
        "results": "r",
        "cells": [{**cell, "key": "k", "space": {}, "recorded": recorded, "missing": recorded is None}],
        "missing": [{"kind": "checkpoint", "text": "data set d is missing"}] if recorded is None else [],
        "prepare": [{"label": "b", "run_id": None, "kind": "pretraining", "recorded": None}],
        "totals": {
            "trials": 2,
            "runs": 5,
            "recorded": recorded,
            "to_train": None if recorded is None else 1,
            "to_evaluate": None if recorded is None else 3,
        },
        "selection": "oracle" if recorded is None else "",
        "notes": ["a note"],
    }
    out = Console(file=io.StringIO(), width=80, markup=False)
    out.print(plan_view(value, 80))
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert "[b]d[/b]" in text and "note: a note" in text
    assert ("selection  oracle" in text) == (recorded is None) == ("selection" in text)
    assert (
        ("recorded: unknown (checkpoint absent)" in text)
        == ("missing  data set d is missing" in text)
        == (recorded is None)
    )
    assert ("4 recorded, 3 of them to evaluate, 1 to train" in text) == (recorded is not None)
