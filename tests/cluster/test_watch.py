from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from coretune.cluster.watch import ClusterWatch


class Ray:
    def __init__(self, nodes: Callable[[], list[dict[str, Any]]]) -> None:
        self.nodes = nodes


def death_of(nodes: Callable[[], list[dict[str, Any]]], seconds: float = 5.0) -> str | None:
    with ClusterWatch(Ray(nodes), every_s=0.01, patience_s=0.3) as watch:
        deadline = time.monotonic() + seconds
        while watch.death is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return watch.death


def test_a_living_cluster_is_left_alone() -> None:
    assert death_of(lambda: [{"Alive": False}, {"Alive": True}], seconds=0.8) is None


def test_a_cluster_without_a_living_node_is_dead() -> None:
    death = death_of(lambda: [{"Alive": False}])
    assert death is not None and "no node of the Ray cluster is alive" in death


def test_a_head_that_raises_is_dead() -> None:
    def nodes() -> list[dict[str, Any]]:
        raise RuntimeError("Failed to connect to GCS\nmore")

    assert death_of(nodes) == "Ray does not answer: Failed to connect to GCS"


def test_a_question_without_an_answer_is_noticed() -> None:
    answered = threading.Event()

    def nodes() -> list[dict[str, Any]]:
        answered.wait(5)
        return [{"Alive": True}]

    try:
        death = death_of(nodes)
        assert death is not None and "has not answered for 0 s" in death
    finally:
        answered.set()


@pytest.mark.parametrize("alive", [True, False])
def test_its_threads_end_with_it(alive: bool) -> None:
    before = threading.active_count()
    death_of(lambda: [{"Alive": alive}], seconds=0.1)
    deadline = time.monotonic() + 3
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
