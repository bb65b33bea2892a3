from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from coretune.cluster import watch as module
from coretune.cluster.watch import ClusterWatch
from coretune.errors import DeadClusterError


class Ray:
    def __init__(self, nodes: Callable[[], list[dict[str, Any]]]) -> None:
        self.nodes = nodes


def node(name: str, *, alive: bool = True) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "NodeManagerAddress": f"10.0.0.{ord(name)}", "NodeManagerHostname": name}


def death_of(nodes: Callable[[], list[dict[str, Any]]], seconds: float = 5.0) -> str | None:
    with ClusterWatch(Ray(nodes), every_s=0.01, patience_s=0.3) as watch:
        deadline = time.monotonic() + seconds
        while watch.death is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return watch.death


def test_a_living_cluster_is_left_alone() -> None:
    assert death_of(lambda: [node("a", alive=False), node("b")], seconds=0.8) is None


def test_a_cluster_without_a_living_node_is_dead() -> None:
    death = death_of(lambda: [node("a", alive=False)])
    assert death is not None and "no node of the Ray cluster is alive" in death


def test_a_head_that_raises_is_dead() -> None:
    def nodes() -> list[dict[str, Any]]:
        raise RuntimeError("Failed to connect to GCS\nmore")

    assert death_of(nodes) == "Ray does not answer: Failed to connect to GCS"


def test_a_question_without_an_answer_is_noticed() -> None:
    answered = threading.Event()

    def nodes() -> list[dict[str, Any]]:
        answered.wait(5)
        return [node("a")]

    try:
        death = death_of(nodes)
        assert death is not None and "has not answered for 0 s" in death
    finally:
        answered.set()


def test_work_is_done_while_the_cluster_lives_and_its_errors_are_raised() -> None:
    done: list[str] = []

    def fails() -> None:
        raise ValueError("as it is")

    with ClusterWatch(Ray(lambda: [node("a")])) as watch:
        watch.outlive(lambda: done.append("work"))
        with pytest.raises(ValueError, match="as it is"):
            watch.outlive(fails)
    assert done == ["work"]


def test_work_that_hangs_is_left_when_the_cluster_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVING_S", 0.1)
    hanging = threading.Event()
    with ClusterWatch(Ray(lambda: [node("a", alive=False)]), every_s=0.01) as watch:
        try:
            with pytest.raises(DeadClusterError, match=r"no node .* is alive.*run the study again"):
                watch.outlive(lambda: hanging.wait(20))
        finally:
            hanging.set()


def test_work_that_notices_a_dead_cluster_itself_comes_to_its_own_end() -> None:
    done: list[str] = []
    with ClusterWatch(Ray(lambda: [node("a", alive=False)]), every_s=0.01) as watch:

        def notices() -> None:
            while watch.death is None:
                time.sleep(0.01)
            time.sleep(0.2)
            done.append("left")

        watch.outlive(notices)
    assert done == ["left"]


@pytest.mark.parametrize("alive", [True, False])
def test_its_threads_end_with_it(alive: bool) -> None:
    before = threading.active_count()
    death_of(lambda: [{"Alive": alive}], seconds=0.1)
    deadline = time.monotonic() + 3
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_nodes_that_leave_and_join_are_told_once() -> None:
    tables = [
        [node("a"), node("b")],
        [node("a"), node("b")],
        [node("a"), node("b", alive=False)],
        [node("a"), node("b", alive=False), node("c")],
    ]
    told: list[tuple[list[str], list[str]]] = []
    answers = iter(tables)
    ray = Ray(lambda: next(answers, tables[-1]))
    with ClusterWatch(ray, every_s=0.01, on_nodes=lambda left, joined: told.append((left, joined))):
        deadline = time.monotonic() + 5
        while len(told) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
    assert told == [(["b (10.0.0.98)"], []), ([], ["c (10.0.0.99)"])]
