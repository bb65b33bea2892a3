from __future__ import annotations

import atexit
import gc
from typing import Any

import pytest

from coretune.cluster.shutdown import shut_down_after
from coretune.errors import DeadClusterError, UnfitError


class Ray:
    """Notes what is done with it."""

    def __init__(self) -> None:
        self.stopped = 0
        self.collecting: bool | None = None

    def shutdown(self) -> None:
        self.stopped += 1
        self.collecting = gc.isenabled()


def test_no_garbage_is_collected_while_ray_shuts_down() -> None:
    """An object of Ray's that another thread frees meanwhile would end the process, with code 1."""
    ray = Ray()
    with shut_down_after(ray):
        assert gc.isenabled() and not ray.stopped
    assert ray.stopped == 1 and ray.collecting is False and gc.isenabled()


def test_after_an_error_ray_is_stopped_too() -> None:
    ray = Ray()
    with pytest.raises(UnfitError), shut_down_after(ray):
        raise UnfitError("the disk is full")
    assert ray.stopped == 1


def test_a_dead_cluster_is_asked_nothing_also_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    forgotten: list[Any] = []
    monkeypatch.setattr(atexit, "unregister", forgotten.append)
    with pytest.raises(DeadClusterError), shut_down_after(ray):
        raise DeadClusterError("it does not answer")
    assert ray.stopped == 0 and forgotten == [ray.shutdown]
