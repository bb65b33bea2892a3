"""The desk of a group: runs go to all workers in one order, failures are agreed on, a lost crew loses its run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from coretune.cluster.desk import Desk, Obsolete, Sign, Task, Verdict
from coretune.results.life import Life
from coretune.results.record import Cause

LIFE = Life("2026-01-01T00:00:00+00:00", 1.0, {})
BUG, OTHER = Cause(kind="error", message="a bug"), Cause(kind="environment", message="Connection closed by peer")


def task(name: str, *, in_step: bool = False) -> Task:
    return Task(name, None, "results", in_step)


def sign(epoch: int, *, evaluated: bool = False) -> Sign:
    return Sign(epoch, 100.0, {"top1": 1.0} if evaluated else None, LIFE)


def drive(scenario: Coroutine[Any, Any, None]) -> None:
    """Runs a scenario; one that waits for ever fails."""
    asyncio.run(asyncio.wait_for(scenario, 20))


async def crew_of(desk: Desk, crew: str = "a", workers: int = 2) -> None:
    for rank in range(workers):
        await desk.join(crew, rank, workers)


async def soon(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Starts a coroutine and lets it come to where it waits."""
    started = asyncio.ensure_future(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    return started


def test_all_workers_get_the_same_runs_in_one_order() -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk)
        waiting = await soon(desk.next("a", 1, 0))
        assert not waiting.done()
        await desk.start(task("one"))
        assert await waiting == await desk.next("a", 0, 0) == task("one")
        await desk.end("a", "completed")
        # The first worker takes the second run, and ends it, before the other one asks.
        await desk.start(task("two"))
        assert await desk.next("a", 0, 1) == task("two")
        await desk.end("a", "completed")
        await desk.start(task("three"))
        assert [await desk.next("a", 1, 1), await desk.next("a", 1, 2)] == [task("two"), task("three")]
        assert await desk.next("a", 0, 2) == task("three")
        await desk.close()
        assert await desk.next("a", 0, 3) is None and await desk.next("a", 1, 3) is None

    drive(scenario())


def test_a_run_waits_for_workers_that_are_not_there_yet() -> None:
    async def scenario() -> None:
        desk = Desk()
        await desk.start(task("one"))
        up = await soon(desk.up())
        assert not up.done()
        await crew_of(desk, workers=1)
        await up
        assert await desk.next("a", 0, 0) == task("one")

    drive(scenario())


def test_another_run_stops_the_present_one() -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk, workers=1)
        await desk.start(task("one"))
        await desk.next("a", 0, 0)
        waiting = await soon(desk.start(task("two")))
        assert not waiting.done()
        assert await desk.report("a", sign(0)) is True
        await desk.end("a", "stopped")
        await waiting
        assert await desk.next("a", 0, 1) == task("two")
        await desk.die("no workers")
        with pytest.raises(RuntimeError, match="no workers"):
            await desk.start(task("three"))

    drive(scenario())


def test_news_come_once_and_at_the_latest_with_the_end() -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk, workers=1)
        await desk.start(task("one"))
        await desk.next("a", 0, 0)
        assert not await desk.report("a", sign(0))
        assert (await desk.news("one", 0.01)).signs == (sign(0),)
        assert (await desk.news("one", 0.01)).signs == ()
        waiting = await soon(desk.news("one", 100))
        assert not await desk.report("a", sign(1, evaluated=True))
        await desk.end("a", "completed")
        news = await waiting
        assert news.signs == (sign(1, evaluated=True),) and news.outcome == "completed" and news.ended
        assert (await desk.news("another", 100)).lost is not None

    drive(scenario())


def test_in_step_a_worker_waits_until_its_evaluation_was_heard() -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk, workers=1)
        await desk.start(task("one", in_step=True))
        await desk.next("a", 0, 0)
        assert not await desk.report("a", sign(0))
        reported = await soon(desk.report("a", sign(1, evaluated=True)))
        assert len((await desk.news("one", 100)).signs) == 2
        assert not reported.done(), "told is not yet heard: the answer may be to stop"
        asked = await soon(desk.news("one", 100))
        assert await reported is False
        reported = await soon(desk.report("a", sign(2, evaluated=True)))
        assert (await asked).signs == (sign(2, evaluated=True),)
        stopped = await soon(desk.stop("one"))
        assert await reported is True
        await desk.end("a", "stopped")
        assert await stopped == "stopped"

    drive(scenario())


def test_a_run_that_has_not_begun_is_taken_back() -> None:
    async def scenario() -> None:
        desk = Desk()
        await desk.start(task("one"))
        assert await desk.stop("one") == "stopped"
        assert await desk.stop("another") is None
        await desk.start(task("two"))
        await crew_of(desk, workers=1)
        assert await desk.next("a", 0, 0) == task("two")

    drive(scenario())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_failure_that_is_no_consequence_of_another_counts(order: tuple[int, int]) -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk)
        told = {0: (OTHER, True), 1: (BUG, False)}
        for _ in range(2):  # a meeting leaves nothing behind for the next one
            meetings = [
                await soon(desk.meet("a", rank, told[rank][0], "run", consequence=told[rank][1])) for rank in order
            ]
            assert [await meeting for meeting in meetings] == [Verdict(BUG)] * 2

    drive(scenario())


@pytest.mark.parametrize("parts", [("run", "evaluation"), ("run", "run")])
def test_workers_that_lost_their_way_or_their_connection_are_replaced(parts: tuple[str, str]) -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk)
        follows = parts[0] == parts[1]
        meetings = [
            await soon(desk.meet("a", rank, OTHER, part, consequence=follows)) for rank, part in enumerate(parts)
        ]
        assert [await meeting for meeting in meetings] == [Verdict(None)] * 2

    drive(scenario())


def test_a_worker_that_hangs_is_not_waited_for_for_ever() -> None:
    async def scenario() -> None:
        desk = Desk(patience_s=0.05)
        await crew_of(desk)
        assert await desk.meet("a", 0, BUG, "run", consequence=False) == Verdict(None)
        assert await desk.meet("a", 1, BUG, "run", consequence=False) == Verdict(None), "too late"

    drive(scenario())


def test_a_new_crew_loses_the_run_of_the_one_before() -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk)
        await desk.start(task("one"))
        await desk.next("a", 0, 0)
        failed = await soon(desk.meet("a", 0, BUG, "run", consequence=False))
        await crew_of(desk, "b")
        assert desk.crews == 2
        assert "was lost" in str((await desk.news("one", 100)).lost)
        with pytest.raises(Obsolete):
            await failed
        with pytest.raises(Obsolete):
            await desk.report("a", sign(1))
        await desk.start(task("one"))
        assert await desk.next("b", 1, 0) == await desk.next("b", 0, 0) == task("one")

    drive(scenario())


def test_a_new_crew_may_be_a_smaller_one() -> None:
    async def scenario() -> None:
        desk = Desk()
        await crew_of(desk)
        await desk.start(task("one"))
        first = [await desk.next("a", rank, 0) for rank in range(2)]
        assert all(given is not None and given.run_id == "one" for given in first)
        up = await soon(desk.up())
        assert up.done()
        await crew_of(desk, "b", workers=1)
        assert (await desk.news("one", 0)).lost == "a worker of its group was lost"
        await desk.up()
        await desk.start(task("two"))
        given = await desk.next("b", 0, 0)
        assert given is not None and given.run_id == "two"
        verdict = await desk.meet("b", 0, BUG, "train", consequence=False)
        assert verdict.cause == BUG, "it waits for no other"

    drive(scenario())


def test_a_dead_group_says_why() -> None:
    async def scenario() -> None:
        desk = Desk()
        await desk.start(task("one"))
        waiting = await soon(desk.news("one", 100))
        await desk.die("no room for the workers")
        assert (await waiting).lost == "no room for the workers"
        await desk.up()

    drive(scenario())
