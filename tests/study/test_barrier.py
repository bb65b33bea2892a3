from __future__ import annotations

from coretune.study.barrier import SlotBarrier


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_runs_wait_until_every_slot_is_up() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    assert barrier.holds(0)
    barrier.up("a")
    barrier.up("a")
    assert barrier.holds(0)
    barrier.up("b")
    assert not barrier.holds(0)
    barrier.ended("a")
    barrier.ended("b")
    assert not barrier.holds(0), "once open it stays open"


def test_a_lost_process_holds_runs_back_until_it_is_replaced() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    assert not barrier.holds(2)
    barrier.lost()
    assert barrier.holds(1)
    barrier.up("new")
    assert not barrier.holds(1)


def test_an_idle_trial_that_ended_holds_no_slot() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    barrier.up("a")
    barrier.ended("a")
    barrier.up("b")
    assert barrier.holds(0)


def test_patience_ends() -> None:
    clock = Clock()
    barrier = SlotBarrier(3, patience_s=5, clock=clock)
    barrier.up("a")
    assert barrier.holds(0)
    clock.now = 5.1
    assert not barrier.holds(0)
