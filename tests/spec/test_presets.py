from __future__ import annotations

import copy
from typing import Any

import pytest

from coretune.spec.presets import apply_preset, merge_below


def test_what_the_file_says_wins() -> None:
    raw = {"preset": "cpu", "train": {"epochs": 7}, "search": "none"}
    found = apply_preset(raw)
    assert found["train"]["epochs"] == 7
    assert found["train"]["batch"] == 64
    assert found["search"] == "none"
    assert found["finals"] == {"seeds": 6}


@pytest.mark.parametrize("preset", [None, "unknown", 3, ["a"]])
def test_no_preset_changes_nothing(preset: object) -> None:
    raw = {"preset": preset, "train": {"epochs": 7}}
    assert apply_preset(raw) == raw


def test_smoke_limits_all_that_takes_time() -> None:
    raw: dict[str, Any] = {
        "preset": "smoke",
        "train": {"epochs": {"int": [10, 20]}, "warmup_epochs": 5, "lr": 0.1},
        "methods": {"ce": {"train": {"epochs": 40}}, "other": {}},
        "backbones": {"b": {"pretrain": {"train": {"epochs": 30, "warmup_epochs": 3}}}, "c": {"pretrain": {}}, "d": {}},
        "search": {"trials": 50, "repeats": 3},
        "finals": {"seeds": 1},
    }
    before = copy.deepcopy(raw)
    found = apply_preset(raw)
    assert raw == before
    assert found["train"] == {"epochs": 1, "warmup_epochs": 1, "lr": 0.1}
    assert found["methods"] == {"ce": {"train": {"epochs": 1}}, "other": {}}
    assert found["backbones"]["b"]["pretrain"]["train"] == {"epochs": 1, "warmup_epochs": 1}
    assert found["backbones"]["c"]["pretrain"]["train"] == {"epochs": 1}
    assert found["backbones"]["d"] == {}
    assert found["search"] == {"trials": 2, "repeats": 1}
    assert found["finals"] == {"seeds": 1}


def test_smoke_leaves_what_is_wrong_to_validation() -> None:
    raw = {"preset": "smoke", "search": "none", "train": {"epochs": "many"}, "methods": [], "backbones": 3}
    assert apply_preset(raw) == {**raw, "finals": {"seeds": 2}, "data": {"limit": 512, "held_out_limit": 512}}


def test_smoke_limits_the_images_of_every_data_set() -> None:
    a = {"limit": 9000, "held_out_limit": 600}
    datasets: dict[str, Any] = {"a": a, "b": {"limit": 100}, "c": {}, "d": {"limit": "x"}, "e": None}
    found = apply_preset({"preset": "smoke", "data": {"limit": 60, "test": 5}, "datasets": datasets})
    assert found["data"] == {"limit": 60, "test": 5, "held_out_limit": 512}
    assert found["datasets"] == {**datasets, "a": {"limit": 512, "held_out_limit": 512}}
    assert a == {"limit": 9000, "held_out_limit": 600}


def test_merge_below_goes_into_mappings() -> None:
    assert merge_below({"a": {"b": 1}, "c": 2}, {"a": {"b": 0, "d": 0}, "c": {"x": 1}}) == {
        "a": {"b": 1, "d": 0},
        "c": 2,
    }
