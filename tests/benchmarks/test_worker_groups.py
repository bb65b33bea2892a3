"""`benchmarks/worker_groups.py`: what it times is a run of two workers like a study's."""

from __future__ import annotations

import json
import signal

import pytest
from ray import cloudpickle
from support.scripts import load_script


def test_its_runs_are_those_of_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = load_script("benchmarks/worker_groups.py", monkeypatch)
    one, other = bench.job(1), bench.job(2)
    assert one.spec.run_id != other.spec.run_id == bench.job(2).spec.run_id
    assert one.spec.method.name == "core_tuning" and one.spec.train.contrast_batch == one.spec.train.batch
    assert (bench.GOAL, bench.GOAL_S) == (50.0, 0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_warm_group_is_faster_than_a_trainer_for_each_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = load_script("benchmarks/worker_groups.py", monkeypatch)
    monkeypatch.setattr(bench, "SERIES", 1)
    monkeypatch.setattr(bench, "RUNS", 2)
    cloudpickle.register_pickle_by_value(bench)  # workers cannot import a script by the name that it has here
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        bench.main()
    finally:
        cloudpickle.unregister_pickle_by_value(bench)
        signal.signal(signal.SIGINT, interrupt)  # Ray Train takes it, and keeps it
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["name"] == "worker_groups" and found["better"] == "higher"
    assert found["ratio"] > 1 and found["detail"]["runs"] == {"warm": 2, "cold": 1}
