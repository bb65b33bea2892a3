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
        self.workers: list[tuple[int, int]] = []

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "0" * 56)

    def remote(self, **options: Any) -> Any:
        assert options == {"num_cpus": 0}, "what a group needs is its workers'"
        return lambda actor: SimpleNamespace(options=self._options)

    def _options(self, *, name: str, scheduling_strategy: Any) -> Any:
        return SimpleNamespace(remote=lambda options, run: self._start(name, options.resources))

    def _start(self, name: str, resources: Resources) -> Any:
        self.started.append(name)
        self.workers.append((resources.least_workers, resources.workers))
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
    return GroupPool(ray, Resources(workers=2), 5)


def test_no_more_groups_than_there_may_be(ray: FakeRay, pool: GroupPool) -> None:
    pool.warm(5)
    assert len(pool) == len(ray.started) == 2
    assert {pool.take(2), pool.take(2)} == set(ray.started)
    with pytest.raises(RuntimeError, match="no place for 2 workers: all groups are busy"):
        pool.take(2)
    pool.give_back(ray.started[0])
    assert pool.take(2) == ray.started[0]


def test_a_group_is_started_when_it_is_needed(ray: FakeRay, pool: GroupPool) -> None:
    pool.warm(1)
    first = pool.take(2)
    assert ray.started == [first]
    second = pool.take(2)
    assert ray.started == [first, second]


def test_a_dead_group_is_replaced_and_three_in_a_row_end_the_study(ray: FakeRay, pool: GroupPool) -> None:
    for _ in range(DEATHS - 1):
        pool.give_back(pool.take(2), dead="its workers were lost")
    pool.give_back(pool.take(2))
    for _ in range(DEATHS - 1):
        pool.give_back(pool.take(2), dead="its workers were lost")
    with pytest.raises(UnfitError, match="lost again and again: no room for the workers"):
        pool.give_back(pool.take(2), dead="no room for the workers")
    assert ray.killed == ray.started and len(set(ray.started)) == 2 * DEATHS - 1


def test_free_groups_beyond_the_runs_that_are_left_are_closed(ray: FakeRay, pool: GroupPool) -> None:
    busy, free = pool.take(2), pool.take(2)
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


def test_groups_of_several_sizes_share_the_places(ray: FakeRay) -> None:
    pool = GroupPool(ray, Resources(workers=4), 6)
    four, one, other = pool.take(4), pool.take(1), pool.take(1)
    assert ray.workers == [(4, 4), (1, 1), (1, 1)]
    assert not pool.could_place(1) and not pool.could_place(4)
    pool.give_back(four)
    assert pool.has_place(4) and not pool.has_place(1) and pool.could_place(1)
    assert pool.take(4) == four, "it stays as long as there are runs for it"
    pool.give_back(four)
    pool.give_back(one)
    assert pool.take(1) == one and ray.closing == []
    third = pool.take(1)
    assert ray.closing == [four], "it makes room for three"
    assert not pool.could_place(4), "groups that execute runs are left alone"
    for name in (one, other, third):
        pool.give_back(name)
    assert not pool.has_place(4) and pool.could_place(4)
    pool.take(4)
    assert len(ray.closing) == 2 and len(pool) == 3, "as many as it takes, and no more"


def test_a_cluster_smaller_than_a_group_holds_one_that_may_be_smaller(ray: FakeRay) -> None:
    pool = GroupPool(ray, Resources(workers=4, min_workers=2), 3)
    name = pool.take(4)
    assert ray.workers == [(2, 4)] and not pool.could_place(1)
    pool.give_back(name)
    pool.take(1)
    assert ray.workers[1] == (1, 1) and ray.closing == [name]


def test_after_an_error_nobody_is_waited_for(ray: FakeRay, pool: GroupPool) -> None:
    with pytest.raises(KeyError), pool:
        pool.take(2)
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
