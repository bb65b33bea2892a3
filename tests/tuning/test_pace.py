from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from support.training import context

import coretune.tuning.pace
from coretune.tuning.pace import Pace
from coretune.tuning.shard import Shard


@dataclass(frozen=True)
class Follower(Shard):
    """One of two workers, whose first one says how many steps there are."""

    workers: int = 2

    def agree(self, number: int, device: torch.device) -> int:
        return 3


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(coretune.tuning.pace, "time", made)
    return made


def steps(pace: Pace, clock: Clock, count: int, seconds: float) -> list[int]:
    """The steps (from 1) after which a sign of life is due, where each takes so long."""
    found = []
    for step in range(1, count + 1):
        clock.now += seconds
        if pace.due():
            found.append(step)
            pace.start()
    return found


def test_one_worker_goes_by_the_clock(clock: Clock) -> None:
    assert steps(Pace(context(tick_s=1.0)), clock, 10, 0.3) == [4, 8]


def test_several_begin_with_one_step_and_reach_the_clock(clock: Clock) -> None:
    class Leader(Follower):
        def agree(self, number: int, device: torch.device) -> int:
            return number

    assert steps(Pace(context(tick_s=1.0, shard=Leader())), clock, 30, 0.1) == [1, 3, 7, 15, 24]


def test_others_follow_the_first(clock: Clock) -> None:
    assert steps(Pace(context(tick_s=1.0, shard=Follower())), clock, 10, 5.0) == [1, 4, 7, 10]
