"""A network of several machines on this one: a namespace for each of them, and a switch between them. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def ip(*words: str) -> None:
    """Runs `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """Machines 0 to n − 1, each with one network interface, `eth0`, at one switch.

    Args:
        machines: How many.
    """

    def __init__(self, machines: int) -> None:
        self._machines = machines
        self._name = f"ct{os.getpid()}"
        self._switch = f"{self._name}s"

    def __enter__(self) -> Network:
        ip("netns", "add", self._switch)
        ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self._switch, "link", "set", "br0", "up")
        for number in range(self._machines):
            space, port = self._space(number), f"port{number}"
            ip("netns", "add", space)
            ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", port, "netns", self._switch)
            ip("-n", self._switch, "link", "set", port, "master", "br0", "up")
            for link in ("lo", "eth0"):
                ip("-n", space, "link", "set", link, "up")
            ip("-n", space, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        return self

    def __exit__(self, *_: object) -> None:
        for space in [self._switch, *map(self._space, range(self._machines))]:
            ip("netns", "del", space)

    def address(self, machine: int) -> str:
        """Returns a machine's address."""
        return f"10.77.0.{machine + 1}"

    def on(self, machine: int) -> Sequence[str]:
        """Returns what to put before a command that is to be executed on a machine."""
        return ["ip", "netns", "exec", self._space(machine)]

    @contextmanager
    def cut(self, machine: int) -> Iterator[None]:
        """Pulls a machine's cable for the time of the context: what is sent is lost, and nobody is told."""
        ip("-n", self._switch, "link", "set", f"port{machine}", "down")
        try:
            yield
        finally:
            ip("-n", self._switch, "link", "set", f"port{machine}", "up")

    def _space(self, machine: int) -> str:
        return f"{self._name}m{machine}"
