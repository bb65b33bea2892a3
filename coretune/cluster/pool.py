"""The worker groups of a study: started when there are runs for them, replaced when they die, closed when idle."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from coretune.cluster.host import GroupHost, GroupOptions
from coretune.errors import UnfitError
from coretune.spec.study import Resources

DEATHS = 3
"""So many groups may die one after another, without a run that ends in between."""

CLOSING_S = 30.0
"""How long groups have to end; what is left of them then is killed."""

logger = logging.getLogger("ray.coretune.groups")


def small_place(ray: Any) -> dict[str, float]:
    """Returns what to ask of Ray for an actor that only forwards: a place on this node, also where groups fill it."""
    own = ray.get_runtime_context().get_node_id()
    address = next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == own)
    return {f"node:{address}": 0.001}


@dataclass
class _Group:
    host: Any
    workers: int
    busy: bool = False
    closing: Any = None


class GroupPool:
    """A study's groups, by name: of as many workers each as the runs that they are for.

    They never ask for more places than there are, so that none waits for one that another holds: a group is started
    where there is room, or where free groups of another size make room. Groups that execute runs are left alone.

    Args:
        ray: The module, initialised.
        resources: What each group is; `workers` of them at the most.
        places: How many workers the cluster holds.
    """

    def __init__(self, ray: Any, resources: Resources, places: int) -> None:
        self._ray = ray
        self._resources = resources
        self._places = places
        self._groups: dict[str, _Group] = {}
        self._leaving: list[_Group] = []
        self._deaths = 0

    def __enter__(self) -> GroupPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:  # else the cluster may be dead, and what lives ends with this command's job
            self.close()

    def __len__(self) -> int:
        return len(self._groups)

    def warm(self, groups: int) -> None:
        """Starts groups of the most workers, so that there are so many groups, as far as there is room."""
        while len(self._groups) < groups and self._needs(self._resources.workers) <= self._room:
            self._start(self._resources.workers)

    def has_place(self, workers: int) -> bool:
        """Returns whether a run of so many workers can start with no group closed for it."""
        return self._free(workers) is not None or self._needs(workers) <= self._room

    def could_place(self, workers: int) -> bool:
        """Returns whether a run of so many workers can start, if free groups of another size are closed for it."""
        free = sum(self._needs(group.workers) for group in self._groups.values() if not group.busy)
        return self._free(workers) is not None or self._needs(workers) <= self._room + free

    def take(self, workers: int) -> str:
        """Returns the name of a free group of so many workers, which is busy from now on; it may still be starting.

        Raises:
            RuntimeError: There is none, and no room for one.
        """
        name = self._free(workers)
        if name is None:
            if not self.could_place(workers):
                raise RuntimeError(f"no place for {workers} workers: all groups are busy")
            for other in [name for name, group in self._groups.items() if not group.busy]:
                if self._needs(workers) <= self._room:
                    break
                self._leave(self._groups.pop(other))
            name = self._start(workers)
        self._groups[name].busy = True
        return name

    def _free(self, workers: int) -> str | None:
        fitting = (name for name, group in self._groups.items() if not group.busy and group.workers == workers)
        return next(fitting, None)

    def _needs(self, workers: int) -> int:
        return min(workers, self._places)  # an elastic group takes what there is

    @property
    def _room(self) -> int:
        return self._places - sum(self._needs(group.workers) for group in self._groups.values())

    def give_back(self, name: str, *, dead: str | None = None) -> None:
        """Takes a group back.

        Args:
            name: The group.
            dead: Why it is no more.

        Raises:
            UnfitError: Groups die one after another.
        """
        self._bury()
        group = self._groups[name]
        group.busy = False
        if dead is None:
            self._deaths = 0
            return
        del self._groups[name]
        self._kill(group)
        self._deaths += 1
        logger.warning("%s has died: %s", name, dead)
        if self._deaths >= DEATHS:
            raise UnfitError(f"the workers of a run do not start, or are lost again and again: {dead}")

    def release(self, keep: int) -> None:
        """Closes free groups beyond so many."""
        for name in [name for name, group in self._groups.items() if not group.busy]:
            if len(self._groups) <= keep:
                return
            self._leave(self._groups.pop(name))

    def close(self) -> None:
        """Closes all groups, and waits until nothing of them is left."""
        for group in self._groups.values():
            self._leave(group)
        self._groups.clear()
        if self._leaving:
            asked = [group.closing for group in self._leaving]
            self._ray.wait(asked, num_returns=len(asked), timeout=CLOSING_S + 5)
        for group in self._leaving:
            self._kill(group)
        self._leaving.clear()

    def _start(self, workers: int) -> str:
        resources = self._resources.replace(workers=workers, min_workers=min(self._resources.least_workers, workers))
        name = f"coretune-group-{secrets.token_hex(4)}"
        node = self._ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(node, soft=True)
        actor = self._ray.remote(num_cpus=0)(GroupHost)
        host = actor.options(name=name, scheduling_strategy=strategy).remote(GroupOptions(resources), name)
        host.open.remote()
        self._groups[name] = _Group(host, workers)
        return name

    def _leave(self, group: _Group) -> None:
        group.closing = group.host.close.remote(CLOSING_S)
        self._leaving.append(group)

    def _bury(self) -> None:
        """Ends the actors of groups whose workers have gone."""
        for group in list(self._leaving):
            gone, _ = self._ray.wait([group.closing], timeout=0)
            if gone:
                self._leaving.remove(group)
                self._kill(group)

    def _kill(self, group: _Group) -> None:
        self._ray.kill(group.host)
