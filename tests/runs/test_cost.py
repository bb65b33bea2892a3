"""The cost of a run is told from its first steps, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.training import catalog, context, digits_job, digits_spec

from coretune.errors import UnfitError
from coretune.runs import cost as cost_module
from coretune.runs.cost import _images_per_s, run_cost
from coretune.tuning.loop import Tick


@pytest.mark.parametrize("method", ["ce", "core_tuning", "moco_v2"])
@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_a_cost_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, epochs: int) -> None:
    monkeypatch.chdir(tmp_path)
    spec = digits_spec(method, epochs=epochs, weights="run:0123456789abcdef")
    cost = run_cost(digits_job(spec), catalog(), context(), probe_s=0.05)
    assert 0 < cost.seconds < 3600 and cost.images_per_s > 0 and cost.gpu_mb is None
    assert not list(tmp_path.iterdir()), "a probe writes nothing"


def test_a_cost_is_all_epochs_and_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_module, "_images_per_s", lambda training, probe_s: 10.0)
    monkeypatch.setattr(cost_module, "_evaluation_seconds", lambda parts, context: 0.5)

    def seconds(**recipe: int) -> float:
        return run_cost(digits_job(digits_spec(**recipe)), catalog(), context()).seconds  # type: ignore[arg-type]

    assert seconds(epochs=4) == 4 * 20 / 10 + 4 * 0.5, "20 labelled images, evaluated after each epoch"
    assert seconds(epochs=5, evaluate_every=2) == 5 * 20 / 10 + 3 * 0.5, "and after the last"


def test_the_rate_is_that_after_the_warm_up() -> None:
    class Made(Iterator[Tick]):
        def __init__(self) -> None:
            self.ticks = iter([(10, 5.0), (20, 9.0), (30, 9.5), (50, 10.5), (90, 12.5), (95, 99.0)])
            self.closed = False

        def __next__(self) -> Tick:
            images, seconds = next(self.ticks)
            return Tick(0, 0, images, seconds)

        def close(self) -> None:
            self.closed = True

    made = Made()
    assert _images_per_s(made, 3.0) == (90 - 20) / (12.5 - 9.0)  # type: ignore[arg-type]
    assert made.closed
    made.ticks = iter([(10, 5.0), (20, 9.0)])
    assert _images_per_s(made, 3.0) == 20 / 9.0, "no longer than the warm-up"  # type: ignore[arg-type]
    made.ticks = iter([])
    with pytest.raises(UnfitError, match="no image"):
        _images_per_s(made, 3.0)  # type: ignore[arg-type]
