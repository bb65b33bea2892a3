"""The cost of a run is told from its first steps, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.training import catalog, context, digits_job, digits_spec

from coretune.results.store import ResultsStore
from coretune.runs.cost import run_cost
from coretune.runs.execute import Execution


@pytest.mark.parametrize("method", ["ce", "core_tuning", "moco_v2"])
@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_a_cost_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, epochs: int) -> None:
    monkeypatch.chdir(tmp_path)
    spec = digits_spec(method, epochs=epochs, weights="run:0123456789abcdef")
    cost = run_cost(digits_job(spec), catalog(), context(), probe_s=0.05)
    assert 0 < cost.seconds < 3600 and cost.images_per_s > 0 and cost.gpu_mb is None
    assert not list(tmp_path.iterdir()), "a probe writes nothing"


def test_a_cost_grows_with_epochs_and_evaluations() -> None:
    def cost(**recipe: int) -> float:
        return run_cost(digits_job(digits_spec(**recipe)), catalog(), context(), probe_s=0.1).seconds  # type: ignore[arg-type]

    often, rarely = cost(epochs=400), cost(epochs=400, evaluate_every=400)
    assert often > rarely > cost(epochs=40, evaluate_every=40)


def test_a_cost_is_near_the_truth(tmp_path: Path) -> None:
    job = digits_job(digits_spec(epochs=200), evaluations=())
    told = run_cost(job, catalog(), context(), probe_s=0.3).seconds
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context())
    list(execution)
    assert execution.record is not None
    assert told == pytest.approx(execution.record.timings["total_s"], rel=2.0), "of the same order"
