"""`benchmarks/robust_eval.py` in small: what it compares, and that unequal results count for nothing."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
import torchattacks
from support.scripts import load_script


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, without data of others, with images and budgets that take a moment."""
    monkeypatch.delenv("CORETUNE_TEST_DATA", raising=False)
    module = load_script("benchmarks/robust_eval.py", monkeypatch)
    for name, value in {
        "IMAGES": 24,
        "EPOCHS": 2,
        "GRID": ["1/255", "2/255", "4/255", "8/255", "16/255", "32/255"],
        "AUTO_IMAGES": 6,
        "SURVIVOR_IMAGES": 4,
        "STEPS": 6,
        "PGD": {"name": "pgd", "steps": 6, "step_size": "eps/4", "restarts": 2},
        "RESTARTS": 2,
        "AUTO": {"name": "autoattack", "steps": 3, "queries": 10},
        "their_autoattack": lambda data, eps: [torchattacks.APGD(data.model, eps=eps, steps=3)],
    }.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_it_reports_the_worse_of_two_settings(bench: ModuleType) -> None:
    found: dict[str, Any] = bench.measure()
    detail = found["detail"]
    assert found["name"] == "robust_eval" and (found["goal"], found["better"]) == (2.0, "higher")
    assert found["ratio"] == min(detail["pgd"]["ratio"], detail["autoattack"]["ratio"])
    assert detail["net"] == "small_resnet, digits" and detail["clean"] > 12
    assert 0 < detail["pgd"]["left"]["theirs"] < detail["clean"]
    assert detail["autoattack"]["images"] == 6 and detail["survivors"]["images"] == 4


def test_unequal_results_count_for_nothing(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bench.problem(torch.device("cpu"))
    monkeypatch.setattr(bench, "ours", lambda data, eps, attacks: len(data.labels))
    found = bench.compared(data, "8/255", [bench.PGD], bench.their_pgd, slack=1)
    assert not found["equal"] and found["ratio"] == 0
