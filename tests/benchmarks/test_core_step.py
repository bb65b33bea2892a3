"""`benchmarks/core_step.py` in small: what it steps, and what it reports."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from support.scripts import load_script

SMALL = ("small_resnet", {"widths": [4]}, 8, 8)
LARGE = ("small_resnet", {"widths": [4]}, 16, 32)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with nets and rounds that take a moment."""
    module = load_script("benchmarks/core_step.py", monkeypatch)
    for name, value in {
        "NETS": {"small": SMALL, "large": LARGE},
        "ROUNDS": {"cpu": 3, "cuda": 3},
        "CONTRAST_BATCH": 8,
        "ALONE_REPEATS": 2,
    }.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_it_reports_the_worse_net(bench: ModuleType) -> None:
    found: dict[str, Any] = bench.measure()
    detail = found["detail"]
    assert found["name"] == "core_step" and (found["goal"], found["better"]) == (1.05, "lower")
    assert found["ratio"] == max(detail["small"]["ratio"], detail["large"]["ratio"]) > 0
    assert all(detail[net][f"{name}_ms"] > 0 for net in ("small", "large") for name in ("core_tuning", "ce"))
    assert detail["alone"]["median_ms"] >= detail["alone"]["best_ms"] > 0


def test_every_next_is_one_step_of_the_method(bench: ModuleType) -> None:
    from coretune.spec.catalog import load_catalog

    for name in bench.METHODS:
        training = bench.training(load_catalog(), "large", name, torch.device("cpu"))
        ticks = [next(training) for _ in range(3)]
        assert [(tick.step, tick.images) for tick in ticks] == [(1, 32), (2, 64), (3, 96)]
