from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coretune.cluster import local
from coretune.cluster.local import ENVIRONMENT, Cluster, cluster, import_ray, places, usable_cpus
from coretune.errors import RequestError, UnfitError
from coretune.spec.study import Resources

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.55.0
    Python: 3.12.3
This process on 10.0.0.2:0 was started with:
    Ray: 2.60.0
    Python: 3.11.9
"""


class FakeRay(ModuleType):
    """Stands in for Ray, which takes many seconds to start: notes how it was started, and that it was stopped."""

    def __init__(self, total: dict[str, float], error: Exception | None = None) -> None:
        super().__init__("ray")
        self.total = total
        self.error = error
        self.calls: list[dict[str, Any]] = []
        self.running = False

    def init(self, **arguments: Any) -> None:
        self.calls.append(arguments)
        if self.error is not None:
            raise self.error
        self.running = True

    def cluster_resources(self) -> dict[str, float]:
        return self.total

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": dict(self.total)}, {"Alive": False, "Resources": {"CPU": 1000.0}}]

    def shutdown(self) -> None:
        self.running = False


def fake(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, **total: float) -> FakeRay:
    ray = FakeRay(total, error)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return ray


@pytest.mark.parametrize("by_variable", [False, True])
def test_ray_client_is_refused_before_ray_is_touched(monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    ray = fake(monkeypatch)
    address = "ray://head:10001"
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(RequestError, match=r"ray://head:10001: Ray Client .* host:port") as error,
        cluster(Resources(), address=None if by_variable else address),
    ):
        pass
    assert error.value.exit_code == 2 and not ray.calls


@pytest.mark.parametrize("address", [None, "local", ""])
def test_a_local_cluster_lives_as_long_as_the_context(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    ray = fake(monkeypatch, CPU=4.0)
    monkeypatch.setattr(local, "usable_cpus", lambda: 4)
    with pytest.raises(KeyError), cluster(Resources(), address=address) as found:
        assert ray.running and found == Cluster(slots=4, cpus=4.0, gpus=0.0, local=True)
        raise KeyError
    assert not ray.running
    (call,) = ray.calls
    assert call["address"] == "local" and call["log_to_driver"] is False and call["include_dashboard"] is False
    assert call["dashboard_host"] == "127.0.0.1" and "runtime_env" not in call


def test_attaching(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = fake(monkeypatch, CPU=64.0, GPU=8.0)
    with cluster(Resources(cpus=4, gpus=1), address="10.0.0.1:6379") as found:
        assert found == Cluster(slots=8, cpus=64.0, gpus=8.0, local=False)
    assert ray.calls[0]["address"] == "10.0.0.1:6379" and "num_cpus" not in ray.calls[0]
    assert found.shipped == Path(ray.calls[0]["runtime_env"]["working_dir"]).stat().st_size > 0
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with cluster(Resources()) as found:
        assert not found.local and ray.calls[-1]["address"] == "auto"


@pytest.mark.parametrize(
    ("resources", "cpus"),
    [
        ({}, 2),
        ({"slots": 4}, 4),
        ({"slots": 2, "workers": 2}, 4),
        ({"slots": 3, "cpus": 1.5}, 5),
        ({"cpus": 2}, 2),
        ({"slots": 1, "cpus": 0.5}, 2),
    ],
)
def test_the_local_cluster_is_large_enough_for_the_slots_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], cpus: int
) -> None:
    monkeypatch.setattr(local, "usable_cpus", lambda: 2)
    ray = fake(monkeypatch, CPU=float(cpus))
    with cluster(Resources(**resources)) as found:
        assert found.slots >= 1
        assert found.cpus == 2, "CPUs that are not there are not claimed"
    assert ray.calls[0]["num_cpus"] == cpus


@pytest.mark.parametrize("slots", [None, 1, 4])
def test_a_run_that_needs_more_cpus_than_there_are_is_refused_before_ray_is_touched(
    monkeypatch: pytest.MonkeyPatch, slots: int | None
) -> None:
    monkeypatch.setattr(local, "usable_cpus", lambda: 2)
    ray = fake(monkeypatch, CPU=64.0)
    with (
        pytest.raises(UnfitError, match=r"one run needs 64 CPUs \(resources.cpus\), this process may use 2;") as error,
        cluster(Resources(cpus=64, slots=slots)),
    ):
        pass
    assert error.value.exit_code == 3 and len(str(error.value).splitlines()) == 1
    assert not ray.calls
    with cluster(Resources(cpus=64, slots=slots), address="10.0.0.1:6379") as found:
        assert found == Cluster(slots=1, cpus=64.0, gpus=0.0, local=False)


@pytest.mark.parametrize(
    ("resources", "right"),
    [
        ({"workers": 3}, "write resources.workers: 2, or resources.cpus: 0.67, or attach"),
        ({"workers": 2, "cpus": 4}, "write resources.cpus: 1, or attach"),
    ],
)
def test_a_group_that_this_machine_cannot_hold_is_refused_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], right: str
) -> None:
    monkeypatch.setattr(local, "usable_cpus", lambda: 2)
    ray = fake(monkeypatch, CPU=64.0)
    with pytest.raises(UnfitError, match=right) as error, cluster(Resources(**resources)):
        pass
    assert error.value.exit_code == 3 and len(str(error.value).splitlines()) == 1
    assert not ray.calls


@pytest.mark.parametrize(
    ("total", "right"),
    [
        ({"CPU": 8.0, "GPU": 3.0}, "holds 3; write resources.workers: 3"),
        ({"CPU": 8.0}, "holds 0; write less resources.cpus or resources.gpus"),
    ],
)
def test_a_cluster_too_small_for_one_group(
    monkeypatch: pytest.MonkeyPatch, total: dict[str, float], right: str
) -> None:
    ray = fake(monkeypatch, **total)
    with (
        pytest.raises(UnfitError, match=right) as error,
        cluster(Resources(workers=4, gpus=1), address="10.0.0.1:6379"),
    ):
        pass
    assert error.value.exit_code == 3 and not ray.running


@pytest.mark.parametrize(
    ("resources", "total", "slots"),
    [
        ({}, {"CPU": 2.0}, 2),
        ({"cpus": 0.1}, {"CPU": 0.3}, 3),
        ({"cpus": 1.5}, {"CPU": 4.0}, 2),
        ({"slots": 3}, {"CPU": 8.0}, 3),
        ({"slots": 30}, {"CPU": 8.0}, 8),
        ({"gpus": 0.25}, {"CPU": 8.0, "GPU": 1.0}, 4),
        ({"gpus": 2}, {"CPU": 8.0, "GPU": 5.0}, 2),
        ({"cpus": 4, "gpus": 1}, {"CPU": 8.0, "GPU": 8.0}, 2),
        ({"workers": 2}, {"CPU": 5.0}, 2),
        ({"workers": 2, "slots": 1}, {"CPU": 5.0}, 1),
        ({"workers": 4, "cpus": 0.5, "gpus": 0.25}, {"CPU": 8.0, "GPU": 2.0}, 2),
        ({"workers": 2, "gpus": 1}, {"CPU": 8.0, "GPU": 5.0}, 2),
    ],
)
def test_slots(monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], total: dict[str, float], slots: int) -> None:
    fake(monkeypatch, **total)
    monkeypatch.setattr(local, "usable_cpus", lambda: 8)
    with cluster(Resources(**resources)) as found:
        assert found.slots == slots


def test_a_worker_has_to_fit_on_one_node() -> None:
    """Otherwise Tune would wait for ever for a place that three CPUs here and three there do not make."""
    nodes = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0}, {"CPU": 8.0, "GPU": 4.0}, {"memory": 1.0}]
    assert places(nodes, Resources(cpus=4)) == 2
    assert places(nodes, Resources(cpus=1)) == 14
    assert places(nodes, Resources(cpus=1, gpus=1)) == 5
    assert places(nodes, Resources(cpus=1, gpus=0.25)) == 3 + 8
    assert places(nodes, Resources(cpus=9)) == 0


def test_attaching_to_nodes_each_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = fake(monkeypatch, CPU=6.0)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 3.0}}] * 2)
    with pytest.raises(UnfitError, match="4 CPUs and 0 GPUs on one node"), cluster(Resources(cpus=4), address="h:1"):
        pass


@pytest.mark.parametrize(
    ("resources", "total"),
    [
        ({"gpus": 1}, {"CPU": 2.0}),
        ({"cpus": 4}, {"CPU": 2.0}),
        ({"cpus": 1}, {}),
        ({"cpus": 1, "gpus": 2}, {"CPU": 2.0, "GPU": 1.0}),
    ],
)
def test_a_cluster_too_small_for_one_run(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], total: dict[str, float]
) -> None:
    ray = fake(monkeypatch, **total)
    monkeypatch.setattr(local, "usable_cpus", lambda: 8)
    with (
        pytest.raises(UnfitError, match=r"one run needs .*; change resources") as error,
        cluster(Resources(**resources)),
    ):
        pass
    assert error.value.exit_code == 3 and not ray.running


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no answer\nfrom it"),
        RuntimeError("other version"),
        ValueError("bad"),
        OSError("disk"),
        Exception("The current node timed out during startup."),
    ],
)
@pytest.mark.parametrize(("address", "says"), [(None, "local Ray cluster"), ("10.0.0.1:6379", "at 10.0.0.1:6379")])
def test_a_cluster_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, error: Exception, address: str | None, says: str
) -> None:
    fake(monkeypatch, error)
    with pytest.raises(UnfitError, match=says) as raised, cluster(Resources(), address=address):
        pass
    assert len(str(raised.value).splitlines()) == 1 and str(error).splitlines()[0] in str(raised.value)


def test_other_versions_are_told_exactly_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, RuntimeError(MISMATCH))
    with pytest.raises(UnfitError) as error, cluster(Resources(), address="10.0.0.1:6379"):
        pass
    assert str(error.value).startswith(
        "the cluster at 10.0.0.1:6379 has Ray 2.55.0 and Python 3.12.3, this process Ray 2.60.0 and Python 3.11.9: "
    )


def test_ray_says_other_versions_as_expected() -> None:
    """Against the released Ray: should its words change, the message above would be lost."""
    utils = pytest.importorskip("ray._private.utils")
    with pytest.raises(RuntimeError) as error:
        utils.check_version_info({"ray_version": "2.55.0", "python_version": "3.12.3"}, "10.0.0.2:0")
    assert local.VERSIONS.findall(str(error.value))[0] == ("2.55.0", "3.12.3")
    assert str(error.value).startswith("Version mismatch") and len(local.VERSIONS.findall(str(error.value))) == 2


def test_an_error_without_a_message_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, TimeoutError())
    with (
        pytest.raises(UnfitError, match="no Ray cluster answers at auto: TimeoutError"),
        cluster(Resources(), address="auto"),
    ):
        pass


def test_rays_environment_is_set_before_its_import(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"TUNE_GLOBAL_CHECKPOINT_S": "5"}
    monkeypatch.setattr(local.os, "environ", environment)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr("builtins.__import__", _only_fake_ray(__import__))
    import_ray()
    assert environment["TUNE_GLOBAL_CHECKPOINT_S"] == "5", "what the user says goes"
    assert {**ENVIRONMENT, "TUNE_GLOBAL_CHECKPOINT_S": "5"}.items() <= environment.items()
    assert environment["RAY_AUTH_MODE"] == "token" and len(environment["RAY_AUTH_TOKEN"]) == 64
    token = environment["RAY_AUTH_TOKEN"]
    import_ray()
    assert environment["RAY_AUTH_TOKEN"] == token


def test_attaching_leaves_the_token_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(local.os, "environ", environment)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr("builtins.__import__", _only_fake_ray(__import__))
    import_ray(local=False)
    assert not [name for name in environment if name.startswith("RAY_AUTH")]


def _only_fake_ray(real: Any) -> Any:
    def importer(name: str, *arguments: Any, **options: Any) -> Any:
        return FakeRay({}) if name == "ray" else real(name, *arguments, **options)

    return importer


def test_the_cpus_are_those_that_this_process_may_use() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
