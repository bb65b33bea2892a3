"""Watches whether a cluster still lives, and its nodes: Tune waits for ever for what a dead one never brings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from coretune.cluster.probe import node_name
from coretune.errors import DeadClusterError

EVERY_S = 3.0
PATIENCE_S = 30.0
LEAVING_S = 3.0
"""How long work has to notice for itself that the cluster is dead. Ray ends this process a minute after its death."""


class ClusterWatch:
    """A thread that asks Ray for its nodes.

    Args:
        ray: The module, initialised.
        every_s: Seconds between two questions.
        patience_s: After so many seconds without an answer the cluster counts as dead.
        on_nodes: Called from the thread with the names of nodes that have left since the last answer, and of those that
            have joined.

    Attributes:
        death: Why the cluster counts as dead, or None.
    """

    def __init__(
        self,
        ray: Any,
        *,
        every_s: float = EVERY_S,
        patience_s: float = PATIENCE_S,
        on_nodes: Callable[[list[str], list[str]], None] | None = None,
    ) -> None:
        self.death: str | None = None
        self._ray = ray
        self._every_s = every_s
        self._patience_s = patience_s
        self._on_nodes = on_nodes
        self._alive: dict[str, str] | None = None
        self._answered = time.monotonic()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"coretune-{target.__name__.strip('_')}", daemon=True)
            for target in (self._ask, self._wait)
        ]

    def __enter__(self) -> ClusterWatch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Not joined: the question may be one that is never answered.
        self._ended.set()

    def outlive(self, work: Callable[[], object]) -> None:
        """Does something with the cluster, but no longer than the cluster lives.

        It is done in a thread: some of Ray's functions wait for ever for a control service that is dead. One that does
        so is left there.

        Raises:
            DeadClusterError: The cluster is dead, and the work does not end by itself.
        """
        errors: list[BaseException] = []

        def do() -> None:
            try:
                work()
            except BaseException as error:  # raised again where it is waited for
                errors.append(error)

        thread = threading.Thread(target=do, name="coretune-work", daemon=True)
        thread.start()
        while thread.is_alive() and self.death is None:
            thread.join(0.1)
        thread.join(LEAVING_S)
        if thread.is_alive():
            raise DeadClusterError(f"{self.death}; what is recorded is safe, run the study again")
        if errors:
            raise errors[0]

    def _ask(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                alive = {node["NodeID"]: node_name(node) for node in self._ray.nodes() if node["Alive"]}
            except Exception as error:  # Ray raises what it likes when its head is gone
                if not self._ended.is_set():
                    self.death = f"Ray does not answer: {(str(error) or type(error).__name__).splitlines()[0]}"
                return
            if not alive:
                self.death = (
                    "no node of the Ray cluster is alive (its raylet was killed, or its machine is out of memory)"
                )
                return
            self._answered = time.monotonic()
            self._tell(alive)

    def _tell(self, alive: dict[str, str]) -> None:
        """Tells which nodes there were at the last answer and are no more, and the reverse."""
        before, self._alive = self._alive, alive
        if before is None or self._on_nodes is None or before.keys() == alive.keys():
            return
        left = sorted(name for id, name in before.items() if id not in alive)
        joined = sorted(name for id, name in alive.items() if id not in before)
        self._on_nodes(left, joined)

    def _wait(self) -> None:
        """Notices a question that is never answered."""
        while self.death is None and not self._ended.wait(self._every_s):
            if time.monotonic() - self._answered > self._patience_s:
                self.death = f"Ray has not answered for {self._patience_s:.0f} s"
