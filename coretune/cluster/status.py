"""What a cluster has, and what runs on it: nodes, their memory, actors and drivers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from coretune.cluster.local import attached, places, too_small
from coretune.cluster.probe import Node, by_value, node_name, on_each, reason
from coretune.spec.study import Resources

PATIENCE_S = 30.0
WORKERS = ("RunTrainable", "GroupTrainable", "ResourceTrainable")
"""Actor classes that execute runs, the last as Tune names one that was given resources; people know it as a slot."""


RAYS = ("ray/dashboard", "ray::DashboardAgent")
"""What commands of drivers have in them that Ray itself starts."""


@dataclass(frozen=True)
class NodeStatus:
    """One node.

    Attributes:
        name: Its host name and address.
        head: Whether the control service is on it.
        cpus: CPUs that Ray hands out there.
        cpus_free: Of these, not handed out.
        gpus: GPUs that Ray hands out there.
        gpus_free: Of these, not handed out.
        accelerator: What kind of GPU, as Ray names it; empty where there is none.
        memory: Bytes of memory, or None where the node did not say.
        memory_free: Of these, available.
        problem: Why the node did not say anything, in one line; empty where it did.
        actors: How many of each class are on it; `slot` is a process that executes runs.
    """

    name: str
    head: bool
    cpus: float
    cpus_free: float
    gpus: float
    gpus_free: float
    accelerator: str
    memory: int | None
    memory_free: int | None
    problem: str = ""
    actors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Driver:
    """A program that uses the cluster: its job id, its command, where it runs, and since when (s since the epoch)."""

    job: str
    command: str
    node: str
    pid: int
    since: float


@dataclass(frozen=True)
class Share:
    """What a study gets of a cluster.

    Attributes:
        workers: Workers that a run has.
        slots: Runs at a time, on the cluster as a whole; with several workers each is a group of so many.
        free: The same on what is free now.
        why_none: What to say of a cluster that holds none; else empty.
    """

    workers: int
    slots: int
    free: int
    why_none: str = ""


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster at a moment."""

    address: str
    ray: str
    nodes: tuple[NodeStatus, ...]
    drivers: tuple[Driver, ...]
    study: Share | None = None


def cluster_status(address: str, resources: Resources | None = None) -> ClusterStatus:
    """Attaches to a cluster and looks at it.

    Args:
        address: `auto` or `host:port`.
        resources: What the runs of a study need, to tell what it would get.

    Raises:
        RequestError: It is no address.
        UnfitError: No cluster answers there.
    """
    with attached(address) as ray:
        state: Any = import_module("ray._private.state")  # works without a dashboard, which Ray's State API does not
        nodes = [node for node in ray.nodes() if node["Alive"]]
        free = state.available_resources_per_node()
        named = {node["NodeID"]: node_name(node) for node in nodes}
        with by_value(ray, __name__):
            told = on_each(ray, [Node(id, name) for id, name in named.items()], memory, patience_s=PATIENCE_S)
        memories = {node.id: answer for node, answer in told.items()}
        present = actors(state.actors().values(), os.getpid())
        found = [
            node_status(node, free.get(node["NodeID"], {}), memories[node["NodeID"]], present.get(node["NodeID"], {}))
            for node in nodes
        ]
        share = share_of(resources, nodes, free) if resources is not None else None
        running = drivers(state.jobs(), {node["NodeManagerAddress"]: node_name(node) for node in nodes}, os.getpid())
        at = ray.get_runtime_context().gcs_address
        return ClusterStatus(at, ray.__version__, tuple(sorted(found, key=_order)), tuple(running), share)


def memory() -> tuple[int, int]:
    """Returns the memory of the machine that executes this, and how much of it is available, in bytes."""
    import psutil

    found = psutil.virtual_memory()
    return found.total, found.available


def node_status(
    node: Mapping[str, Any], free: Mapping[str, float], told: object, actors: Mapping[str, int]
) -> NodeStatus:
    """Returns what is known of a node: of what Ray says, and of what the node told or raised."""
    has = node["Resources"]
    total, available = told if isinstance(told, tuple) else (None, None)
    kind = next((key.partition(":")[2] for key in has if key.startswith("accelerator_type:")), "")
    return NodeStatus(
        name=node_name(node),
        head="node:__internal_head__" in has,
        cpus=has.get("CPU", 0.0),
        cpus_free=free.get("CPU", 0.0),
        gpus=has.get("GPU", 0.0),
        gpus_free=free.get("GPU", 0.0),
        accelerator=kind,
        memory=total,
        memory_free=available,
        problem=reason(told) if isinstance(told, Exception) else "",
        actors=dict(actors),
    )


def actors(table: Iterable[Mapping[str, Any]], own_pid: int) -> dict[str, dict[str, int]]:
    """Returns how many actors of each class live on each node, by its id."""
    found: dict[str, dict[str, int]] = {}
    for actor in table:
        if actor["State"] != "ALIVE" or actor.get("Pid") == own_pid:
            continue
        kind = actor["ActorClassName"].rpartition(".")[2]  # Tune makes its class within a function
        name = "slot" if kind in WORKERS else kind
        here = found.setdefault(actor["Address"]["NodeID"], {})
        here[name] = here.get(name, 0) + 1
    return found


def drivers(jobs: Iterable[Mapping[str, Any]], names: Mapping[str, str], own_pid: int) -> list[Driver]:
    """Returns the drivers that run, the oldest first; Ray's own and this process are left out.

    Args:
        jobs: Ray's table.
        names: Names of nodes by address.
        own_pid: Of this process.
    """
    found = []
    for job in jobs:
        command = str(job.get("Entrypoint") or "")
        internal = str(job.get("RayNamespace") or "").startswith("_ray_internal") or any(
            map(command.__contains__, RAYS)
        )
        if job["IsDead"] or internal or job.get("DriverPid") == own_pid:
            continue
        address = str(job.get("DriverIPAddress") or "")
        since = float(job.get("StartTime") or 0) / 1000
        found.append(Driver(job["JobID"], command, names.get(address, address), int(job.get("DriverPid") or 0), since))
    return sorted(found, key=lambda driver: driver.since)


def share_of(
    resources: Resources, nodes: Iterable[Mapping[str, Any]], free: Mapping[str, Mapping[str, float]]
) -> Share:
    """Returns what a study would get of some nodes: as a whole, and of what is free."""
    ids = [(node["NodeID"], node["Resources"]) for node in nodes]
    whole = places([has for _, has in ids], resources)
    now = places([free.get(id, {}) for id, _ in ids], resources)
    most = resources.slots if resources.slots is not None else whole
    slots = min(resources.groups(whole), most)
    cpus, gpus = (sum(has.get(kind, 0.0) for _, has in ids) for kind in ("CPU", "GPU"))
    why = "" if slots else too_small(cpus, gpus, resources, whole, " on one node")
    return Share(resources.workers, slots, min(resources.groups(now), most), why)


def _order(node: NodeStatus) -> tuple[bool, str]:
    return not node.head, node.name
