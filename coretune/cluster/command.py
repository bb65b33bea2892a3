"""A command line executed on a node of a cluster, with its output here: for what is one process, no study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from coretune.cluster.guest import Chunk, Guest, Screen
from coretune.cluster.local import attached
from coretune.cluster.probe import Node, check_nodes, node_name, reason
from coretune.cluster.shipping import runtime_env
from coretune.cluster.watch import ClusterWatch
from coretune.errors import UnfitError
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune.runs.interrupt import interruptible

SILENT_S = 5.0
"""After so long without a place, the wait is told."""


@dataclass(frozen=True)
class Place:
    """A node, and what a command takes of it.

    Attributes:
        node: The node.
        cpus: All of its CPUs, or of a node with GPUs those that fall to one of them.
        gpus: One, or none.
        free: Whether nobody else has them now.
    """

    node: Node
    cpus: float
    gpus: float
    free: bool


def places_for(
    nodes: Iterable[Mapping[str, Any]], free: Mapping[str, Mapping[str, float]], gpu: bool | None
) -> list[Place]:
    """Returns where a command can be executed, one place a node: free ones first, then the largest.

    Args:
        nodes: Ray's table.
        free: What of each node is not handed out, by its id.
        gpu: Whether it needs a GPU; None: it takes one where some node has one.
    """
    alive = [(node, node["Resources"]) for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    wanted = any(has.get("GPU", 0) >= 1 for _, has in alive) if gpu is None else gpu
    found = []
    for node, has in alive:
        gpus = math.floor(has.get("GPU", 0))
        if wanted and not gpus:
            continue
        cpus = float(max(1, has["CPU"] // gpus)) if wanted else float(has["CPU"])
        left = free.get(node["NodeID"], {})
        unused = left.get("CPU", 0) >= cpus and (not wanted or left.get("GPU", 0) >= 1)
        found.append(Place(Node(node["NodeID"], node_name(node)), cpus, float(wanted), unused))
    return sorted(found, key=lambda place: (not place.free, -place.cpus, place.node.name))


def execute(
    words: Sequence[str],
    address: str,
    *,
    folder: Path,
    shared: Sequence[Path],
    screen: Screen,
    write: Callable[[Chunk], None],
    note: Callable[[str], None],
    gpu: bool | None = None,
    everywhere: bool = False,
) -> int:
    """Executes a command line on a node of a cluster and returns its exit code.

    The first SIGINT, SIGTERM or SIGHUP is an interruption there, the second SIGINT ends this process and that one.

    Args:
        words: The words after `coretune`.
        address: `auto` or `host:port`.
        folder: The working directory, there as here.
        shared: Directories that must be the same there; `folder` is one without being said.
        screen: What the output is shown on.
        write: Takes output as it comes.
        note: Takes what is worth telling beside it.
        gpu: Whether a GPU is needed; None: one is taken where some node has one.
        everywhere: Whether on each node that it can be executed on, one after the other; the largest code counts.

    Raises:
        RequestError: It is no address.
        UnfitError: No cluster answers there, no node fits or does not see the directories, or the node was lost.
        StorageError: A directory cannot be written here.
    """
    environment, _ = runtime_env(())
    codes: list[int] = []
    with attached(address, environment) as ray, ClusterWatch(ray) as watch:
        state: Any = import_module("ray._private.state")
        places = places_for(ray.nodes(), state.available_resources_per_node(), gpu)
        if not places:
            raise UnfitError(f"no node of the cluster at {address} has a {'GPU' if gpu else 'CPU'} to hand out")
        for place in places if everywhere else places[:1]:
            for directory in dict.fromkeys((folder, *shared)):
                for warning in check_nodes(ray, directory, [place.node], called="the folder"):
                    note(f"warning: {warning}")
            visit = _Visit(ray, place, (list(words), str(folder), screen), write, note)
            with interruptible(visit.interrupt):
                watch.outlive(visit.follow)
            codes.append(visit.code)
            if visit.interrupted:
                break
    return max(codes)


class _Visit:
    """One execution at one place.

    Args:
        ray: The module, attached.
        place: Where.
        arguments: Of the guest.
        write: Takes output.
        note: Takes notes.

    Attributes:
        code: The exit code.
        interrupted: Whether it was asked to end.
    """

    def __init__(
        self,
        ray: Any,
        place: Place,
        arguments: tuple[Any, ...],
        write: Callable[[Chunk], None],
        note: Callable[[str], None],
    ) -> None:
        self.code = INTERRUPTED
        self.interrupted = False
        self._ray = ray
        self._place = place
        self._arguments = arguments
        self._write = write
        self._note = note
        self._guest: Any = None

    def follow(self) -> None:
        """Starts the command once there is room, and writes its output until its end.

        Raises:
            UnfitError: Its node was lost, or its process killed with what watches it.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray, place = self._ray, self._place
        strategy = NodeAffinitySchedulingStrategy(place.node.id, soft=False)
        self._guest = (
            ray.remote(Guest)
            .options(num_cpus=place.cpus, num_gpus=place.gpus, max_concurrency=2, scheduling_strategy=strategy)
            .remote(*self._arguments)
        )
        try:
            if self._begun():
                self._copy()
        except ray.exceptions.RayActorError as error:
            raise UnfitError(
                f"the command's process on node {place.node.name} was lost: {reason(error)}; given again, the command "
                "goes on with what is stored"
            ) from error
        finally:
            ray.kill(self._guest)

    def interrupt(self, why: str) -> None:
        """Asks the command to end."""
        self.interrupted = True
        if self._guest is not None:
            self._guest.interrupt.remote()

    def _begun(self) -> bool:
        """Waits for the place, which others may have; returns whether the command has begun."""
        asked, told = self._guest.pid.remote(), False
        while not self._ray.wait([asked], timeout=SILENT_S)[0]:
            if self.interrupted:
                return False
            if not told and not self._place.free:
                self._note(f"waits for {self._size()} of node {self._place.node.name}, which others use")
                told = True
        self._ray.get(asked)
        self._note(f"on node {self._place.node.name}, with {self._size()}")
        return True

    def _copy(self) -> None:
        while True:
            chunks, code = self._ray.get(self._guest.read.remote())
            for chunk in chunks:
                self._write(chunk)
            if code is not None:
                self.code = code
                return

    def _size(self) -> str:
        gpu = " and a GPU" if self._place.gpus else ""
        return f"{self._place.cpus:g} CPU{'s' if self._place.cpus != 1 else ''}{gpu}"
