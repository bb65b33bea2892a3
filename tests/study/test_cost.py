from __future__ import annotations

from pathlib import Path

import pytest
from support.driving import drive, make_book, resolved

from coretune.errors import UnfitError
from coretune.results.store import ResultsStore
from coretune.runs.cost import RunCost
from coretune.study.cost import ItemCost, StudyCost, study_cost
from coretune.study.plan import make_plan

PRETRAINED = "backbones.plain.pretrain={method: moco_v2, train: {epochs: 2}}"


def costs(root: Path, *sets: str) -> StudyCost:
    study = resolved("train.epochs=2", *sets)
    return study_cost(study, make_plan(study.loaded, ResultsStore(root)), probe_s=0.05)


def test_every_cell_and_pretraining_is_probed_once(root: Path) -> None:
    found = costs(root, PRETRAINED, "resources.slots=1")
    assert [(item.key, item.runs) for item in found.prepare] == [("moco_v2 plain on digits", 1)]
    assert [(item.key, item.runs) for item in found.cells] == [
        ("digits--ce--plain", 5),
        ("digits--core_tuning--plain", 5),
    ]
    total = sum(item.seconds for item in (*found.prepare, *found.cells))
    assert found.slots == 1 and found.seconds == pytest.approx(total)
    assert not root.exists()


def test_what_is_recorded_costs_nothing(root: Path) -> None:
    drive(make_book(resolved("train.epochs=2"), root), root, limit=4)
    assert sum(item.runs for item in costs(root).cells) == 6
    drive(make_book(resolved("train.epochs=2"), root), root)
    found = costs(root)
    assert found.cells == () and found.seconds == 0.0


def test_slots_share_the_runs_but_no_run_is_divided() -> None:
    def item(runs: int, seconds: float) -> ItemCost:
        return ItemCost("k", runs, RunCost(seconds, 1.0))

    assert StudyCost(2, (item(1, 24.0),), (item(10, 1.0), item(10, 3.0))).seconds == 24.0 + 20.0
    assert StudyCost(4, (), (item(1, 8.0),)).to_dict()["seconds"] == 8.0
    assert StudyCost(3, (), ()).seconds == 0.0


def test_a_gpu_is_not_guessed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnfitError, match="no GPU: probe where it would run"):
        costs(root, "resources.gpus=0.5")
