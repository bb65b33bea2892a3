"""`benchmarks/scale.py` in small: both sides have the same trials, and what is measured is what is said."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import ModuleType

import pytest
from support.scripts import load_script

from coretune.results.store import ResultsStore
from coretune.study.resolved import resolve


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with rounds of a few trials."""
    module = load_script("benchmarks/scale.py", monkeypatch)
    monkeypatch.setattr(module, "ROUNDS", 2)
    return module


def test_the_rival_has_the_trials_that_are_taken_up(bench: ModuleType, tmp_path: Path) -> None:
    size = bench.Size(runs=12, pending=4, cells=2)
    study = resolve(bench.load(2, 8))
    bench.write_earlier(study, tmp_path / "results", size)
    ours = bench.Ours(study, tmp_path / "results", 4)
    rival = bench.Rival(ours.book.cells)
    for cell, plain in zip(ours.book.cells, rival._studies, strict=True):
        assert [trial.state for trial in cell.trials] == ["completed"] * 6
        assert [trial.value for trial in cell.trials] == [trial.value for trial in plain.trials]
        space = cell.resolved.cell.method.space
        told = [{path: space[path].nearest(value) for path, value in trial.params.items()} for trial in cell.trials]
        assert told == [trial.params for trial in plain.trials]
    assert min(ours.ask(4), rival.ask(4)) > 0 and [len(cell.trials) for cell in ours.book.cells] == [8, 8]
    assert min(ours.record(0, 4), rival.record(0, 4), ours.save()) > 0
    assert len(list(ResultsStore(tmp_path / "results").records())) == 12 + 4
    assert all(trial.state.name == "COMPLETE" for plain in rival._studies for trial in plain.trials)


def test_the_time_is_that_of_a_trial(bench: ModuleType) -> None:
    found = bench.measure_time(bench.Size(runs=12, pending=8, cells=2))
    assert set(found["ms_per_trial"]) == {"ask", "rival_ask", "record", "rival_record"}
    assert all(0 < ms < 1000 for ms in found["ms_per_trial"].values())


def test_the_ratio_charges_the_saving_of_files(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ms = {"ask": 3.0, "rival_ask": 2.0, "record": 1.0, "rival_record": 0.5}
    monkeypatch.setattr(bench, "measure_time", lambda size: {"ms_per_trial": ms, "save_s": 0.5})
    monkeypatch.setattr(bench, "measure_memory", lambda trials: {"tuned": trials, "driver_kb_per_trial": 12.5})
    found = bench.measure(bench.Size(1, 2, 3), 4)
    assert (found["name"], found["ratio"], found["goal"], found["better"]) == ("scale", 2.0, 1.5, "lower")
    assert found["detail"]["driver_kb_per_trial"] == 12.5 and found["detail"]["goal_kb_per_trial"] == 20.0


def test_growth_is_the_slope(bench: ModuleType) -> None:
    draws = random.Random(0)
    assert bench.slope([(n, 1000 + 7.5 * n + draws.uniform(-20, 20)) for n in range(400)]) == pytest.approx(
        7.5, abs=0.1
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_study_of_sleepers_ends_under_the_real_tuner(bench: ModuleType) -> None:
    found = bench.measure_memory(60)
    assert found["tuned"] == 60 and found["driver_mb"] > 50
    json.dumps(found)
