from __future__ import annotations

import io

import pytest
from rich.console import Console

from coretune.tuning.loop import EpochReport, Tick
from coretune_cli.training import LINES_S, TrainingView


def report(epoch: int, images: int, **metrics: float) -> EpochReport:
    return EpochReport(epoch, metrics, {"loss": 6.25}, {}, images, images / 100, 0.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_where_there_is_no_terminal() -> None:
    out, clock = Console(file=io.StringIO(), width=200), Clock()
    with TrainingView(out, clock) as view:
        view.begin("moco_v2", epochs=3, images=1000)
        view.follow(Tick(0, 1, 500, 5.0))
        clock.now += LINES_S
        view.follow(Tick(0, 2, 800, 8.0))
        view.follow(report(1, 1000, knn_top1=31.25))
        view.follow(report(3, 3000))
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [
        "epoch 1/3, 100 images/s, about 22s left",
        "epoch 1/3  loss 6.250  knn_top1 31.2",
        "epoch 3/3  loss 6.250",
    ]


def test_a_bar_and_epochs_that_stay_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with TrainingView(Console(file=stream, force_terminal=True, width=100, highlight=False)) as view:
        view.begin("moco_v2", epochs=3, images=1000)
        view.follow(report(1, 1000, knn_top1=31.25))
    assert "epoch 1/3  loss 6.250  knn_top1 31.2\n" in stream.getvalue().replace("\r", "")
    assert "100 images/s, about 20s left" in stream.getvalue()
