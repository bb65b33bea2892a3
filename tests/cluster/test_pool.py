"""Groups are started when there are runs for them, replaced when they die, and closed when idle."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from coretune.cluster.host import GroupHost, GroupOptions
from coretune.cluster.pool import DEATHS, GroupPool, small_place
from coretune.errors import UnfitError
from coretune.spec.study import Resources


class FakeRay:
    """Notes which actors are started, asked to close, and killed."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.closing: list[str] = []
        self.killed: list[str] = []

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "0" * 56)

    def remote(self, **options: Any) -> Any:
        assert options == {"num_cpus": 0}, "what a group needs is its workers'"
        return lambda actor: SimpleNamespace(options=self._options)

    def _options(self, *, name: str, scheduling_strategy: Any) -> Any:
        return SimpleNamespace(remote=lambda options, run: self._start(name))

    def _start(self, name: str) -> Any:
        self.started.append(name)
        close = SimpleNamespace(remote=lambda wait_s: self.closing.append(name))
        return SimpleNamespace(name=name, open=SimpleNamespace(remote=lambda: None), close=close)

    def wait(self, references: list[Any], *, num_returns: int = 1, timeout: float) -> tuple[list[Any], list[Any]]:
        assert num_returns == len(references)
        return references, []

    def kill(self, host: Any) -> None:
        self.killed.append(host.name)


@pytest.fixture
def ray() -> FakeRay:
    return FakeRay()


@pytest.fixture
def pool(ray: FakeRay) -> GroupPool:
    return GroupPool(ray, GroupOptions(Resources(workers=2)), 2)


def test_no_more_groups_than_there_may_be(ray: FakeRay, pool: GroupPool) -> None:
    pool.warm(5)
    assert len(pool) == len(ray.started) == 2
    assert {pool.take(), pool.take()} == set(ray.started)
    with pytest.raises(RuntimeError, match="all 2 groups are busy"):
        pool.take()
    pool.give_back(ray.started[0])
    assert pool.take() == ray.started[0]


def test_a_group_is_started_when_it_is_needed(ray: FakeRay, pool: GroupPool) -> None:
    pool.warm(1)
    first = pool.take()
    assert ray.started == [first]
    second = pool.take()
    assert ray.started == [first, second]


def test_a_dead_group_is_replaced_and_three_in_a_row_end_the_study(ray: FakeRay, pool: GroupPool) -> None:
    for _ in range(DEATHS - 1):
        pool.give_back(pool.take(), dead="its workers were lost")
    pool.give_back(pool.take())
    for _ in range(DEATHS - 1):
        pool.give_back(pool.take(), dead="its workers were lost")
    with pytest.raises(UnfitError, match="lost again and again: no room for the workers"):
        pool.give_back(pool.take(), dead="no room for the workers")
    assert ray.killed == ray.started and len(set(ray.started)) == 2 * DEATHS - 1


def test_free_groups_beyond_the_runs_that_are_left_are_closed(ray: FakeRay, pool: GroupPool) -> None:
    busy, free = pool.take(), pool.take()
    pool.give_back(free)
    pool.release(2)
    assert ray.closing == []
    pool.release(1)
    assert ray.closing == [free]
    pool.release(0)
    assert ray.closing == [free], "a group that executes a run stays"
    assert len(pool) == 1
    assert ray.killed == []
    pool.give_back(busy)
    assert ray.killed == [free], "its workers have gone"
    pool.close()
    assert ray.closing == [free, busy] and sorted(ray.killed) == sorted([free, busy])


def test_after_an_error_nobody_is_waited_for(ray: FakeRay, pool: GroupPool) -> None:
    with pytest.raises(KeyError), pool:
        pool.take()
        raise KeyError
    assert ray.closing == []


def test_what_only_forwards_asks_for_no_cpu() -> None:
    nodes = [{"NodeID": "a", "NodeManagerAddress": "10.0.0.1"}, {"NodeID": "b", "NodeManagerAddress": "10.0.0.2"}]
    context = SimpleNamespace(get_node_id=lambda: "b")
    ray = SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: nodes)
    assert small_place(ray) == {"node:10.0.0.2": 0.001}


@pytest.mark.parametrize(
    ("resources", "bundle", "backend"),
    [
        ({}, {"CPU": 1.0}, "gloo"),
        ({"cpus": 2.5, "gpus": 1}, {"CPU": 2.5, "GPU": 1.0}, "nccl"),
        ({"gpus": 0.25}, {"CPU": 1.0, "GPU": 0.25}, "gloo"),  # NCCL refuses two workers on one GPU
    ],
)
def test_what_a_worker_gets_and_how_it_talks(
    resources: dict[str, float], bundle: dict[str, float], backend: str
) -> None:
    options = GroupOptions(Resources(workers=2, **resources))  # type: ignore[arg-type]
    assert options.bundle == bundle and options.backend == backend


def test_the_actor_is_told_what_ray_train_reads_when_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", raising=False)
    monkeypatch.setenv("RAY_TRAIN_METRICS_ENABLED", "1")
    environment = dict(os.environ)
    monkeypatch.setattr("os.environ", environment)
    GroupHost(GroupOptions(Resources(workers=2)), "name")
    assert environment["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "180"
    assert environment["RAY_TRAIN_METRICS_ENABLED"] == "1", "what the user has set counts"
