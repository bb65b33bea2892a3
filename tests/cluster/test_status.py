from __future__ import annotations

from typing import Any

from coretune.cluster.status import actors, drivers, node_status, share_of
from coretune.spec.study import Resources


def node(id: str, **resources: float) -> dict[str, Any]:
    return {"NodeID": id, "NodeManagerAddress": f"10.0.0.{id}", "NodeManagerHostname": f"n{id}", "Resources": resources}


NODES = [node("1", CPU=2.0), node("2", CPU=8.0, GPU=4.0), node("3", CPU=8.0, GPU=2.0)]


def test_what_a_study_of_one_worker_runs_would_get() -> None:
    free = {"1": {"CPU": 2.0}, "2": {"CPU": 1.0, "GPU": 4.0}, "3": {}}
    share = share_of(Resources(cpus=2), NODES, free)
    assert (share.workers, share.slots, share.free) == (1, 9, 1)
    assert share_of(Resources(cpus=2, slots=3), NODES, free).slots == 3
    assert share_of(Resources(cpus=1, gpus=1), NODES, free).slots == 6
    assert share_of(Resources(cpus=1, gpus=1), NODES, free).free == 1


def test_groups_go_over_nodes() -> None:
    share = share_of(Resources(gpus=1, workers=4), NODES, {"2": {"CPU": 8.0, "GPU": 4.0}})
    assert (share.workers, share.slots, share.free) == (4, 1, 1)
    assert share_of(Resources(gpus=1, workers=2, slots=2), NODES, {}).slots == 2


def test_a_cluster_that_holds_no_group_says_why() -> None:
    share = share_of(Resources(gpus=1, workers=8), NODES, {})
    assert share.slots == 0 and "the cluster, with 18 and 6, holds 6; write resources.workers: 6" in share.why_none
    assert share_of(Resources(gpus=1, workers=6), NODES, {}).why_none == ""


def test_a_node_that_says_nothing_keeps_what_ray_knows() -> None:
    found = node_status(NODES[1], {"CPU": 3.0, "GPU": 1.0}, TimeoutError("late"), {"slot": 2})
    assert (found.cpus, found.cpus_free, found.gpus_free, found.memory) == (8.0, 3.0, 1.0, None)
    assert found.problem == "late" and found.actors == {"slot": 2} and found.name == "n2 (10.0.0.2)"


def test_a_head_and_its_gpus_are_known_by_their_resources() -> None:
    head = node("1", CPU=1.0, **{"node:__internal_head__": 1.0, "accelerator_type:H200": 1.0})
    found = node_status(head, {}, (100, 40), {})
    assert found.head and found.accelerator == "H200" and (found.memory, found.memory_free) == (100, 40)


def test_living_actors_are_counted_by_node_and_class() -> None:
    def actor(name: str, node: str, state: str = "ALIVE", pid: int = 1) -> dict[str, Any]:
        return {"ActorClassName": name, "State": state, "Pid": pid, "Address": {"NodeID": node}}

    table = [
        actor("RunTrainable", "2"),
        actor("with_resources.<locals>.ResourceTrainable", "2"),
        actor("Desk", "2"),
        actor("RunTrainable", "3", "DEAD"),
        actor("Desk", "3", pid=7),
    ]
    assert actors(table, 7) == {"2": {"slot": 2, "Desk": 1}}


def test_drivers_are_people_s_programs_that_run() -> None:
    def job(id: str, command: str, *, dead: bool = False, pid: int = 1, start: int = 1000) -> dict[str, Any]:
        return {
            "JobID": id, "Entrypoint": command, "IsDead": dead, "DriverPid": pid, "StartTime": start,
            "DriverIPAddress": "10.0.0.2",
        }  # fmt: skip

    table = [
        job("02", "coretune study run b.yaml", start=2000),
        job("01", "coretune study run a.yaml"),
        job("03", "coretune study run c.yaml", dead=True),
        job("04", "coretune cluster status", pid=7),
        job("05", "/venv/lib/ray/dashboard/dashboard.py --host"),
        job("06", "ray::DashboardAgent"),
    ]
    found = drivers(table, {"10.0.0.2": "n2"}, 7)
    assert [driver.command for driver in found] == ["coretune study run a.yaml", "coretune study run b.yaml"]
    assert found[0].since == 1.0 and found[0].node == "n2"
