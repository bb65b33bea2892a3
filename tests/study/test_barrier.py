from __future__ import annotations

from coretune.study.barrier import SlotBarrier


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_runs_wait_until_every_slot_is_up() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    assert barrier.holds(0, 9)
    barrier.up("a")
    barrier.up("a")
    assert barrier.holds(0, 9)
    barrier.up("b")
    assert not barrier.holds(0, 9)
    barrier.ended("a")
    barrier.ended("b")
    assert not barrier.holds(0, 9), "once open it stays open"


def test_a_lost_process_holds_runs_back_until_it_is_replaced() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    assert not barrier.holds(2, 9)
    barrier.lost()
    assert barrier.holds(1, 9)
    barrier.up("new")
    assert not barrier.holds(1, 9)


def test_an_idle_trial_that_ended_holds_no_slot() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    barrier.up("a")
    barrier.ended("a")
    barrier.up("b")
    assert barrier.holds(0, 9)


def test_patience_ends() -> None:
    clock = Clock()
    barrier = SlotBarrier(3, patience_s=5, clock=clock)
    barrier.up("a")
    assert barrier.holds(0, 9)
    clock.now = 5.1
    assert not barrier.holds(0, 9)


def test_as_many_runs_as_slots_are_up_need_not_wait() -> None:
    barrier = SlotBarrier(8, clock=Clock())
    assert barrier.holds(0, 1), "no slot is up"
    barrier.up("a")
    assert not barrier.holds(0, 1) and barrier.holds(0, 2)
    barrier.ended("a")
    assert not barrier.holds(0, 1), "its process is free"
    barrier.started()
    assert barrier.holds(1, 5)
    for name in "bcdefgh":
        barrier.up(name)
    assert not barrier.holds(1, 9)


def test_a_trial_that_never_had_a_process_leaves_none_behind() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    barrier.ended("never up")
    assert barrier.holds(0, 1)


def test_a_lost_process_is_not_free() -> None:
    barrier = SlotBarrier(2, clock=Clock())
    barrier.up("a")
    barrier.ended("a", lost=True)
    assert barrier.holds(0, 1)
