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
    busy: bool = False
    closing: Any = None


class GroupPool:
    """A study's groups, by name.

    Args:
        ray: The module, initialised.
        options: What each group is.
        size: How many there may be at a time.
    """

    def __init__(self, ray: Any, options: GroupOptions, size: int) -> None:
        self._ray = ray
        self._options = options
        self._size = size
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
        """Starts groups, so that there are so many of them, as far as there may be."""
        while len(self._groups) < min(groups, self._size):
            self._start()

    def take(self) -> str:
        """Returns the name of a free group, which is busy from now on; it may still be starting.

        Raises:
            RuntimeError: All groups are busy.
        """
        name = next((name for name, group in self._groups.items() if not group.busy), None)
        if name is None:
            if len(self._groups) >= self._size:
                raise RuntimeError(f"all {self._size} groups are busy")
            name = self._start()
        self._groups[name].busy = True
        return name

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

    def _start(self) -> str:
        name = f"coretune-group-{secrets.token_hex(4)}"
        node = self._ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(node, soft=True)
        actor = self._ray.remote(num_cpus=0)(GroupHost)
        host = actor.options(name=name, scheduling_strategy=strategy).remote(self._options, name)
        host.open.remote()
        self._groups[name] = _Group(host)
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
