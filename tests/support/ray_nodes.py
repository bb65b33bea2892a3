"""A Ray cluster of several nodes on this machine, started as an administrator does: with `ray start`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from support.network import Network

TOKEN = "coretune-test-" + "t" * 34
START_S = 120.0

ALIVE = """
import sys
from ray._raylet import GcsClient
print(sum(node.state == 0 for node in GcsClient(address=sys.argv[1]).get_all_node_info().values()))
"""

USERS = """
import json, sys, ray
from ray._private import state
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
actors = [actor["ActorClassName"] for actor in state.actors().values() if actor["State"] != "DEAD"]
groups = [group["state"] for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
print(json.dumps(actors + groups))
"""


def free_ports(number: int) -> list[int]:
    """Returns different ports of this machine on which nobody listens now."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Nodes:
    """A head, which is node 0, and further nodes; each in a process that ends with the test.

    Args:
        cpus: Of the head.
        token: What the cluster wants to see.
        network: Where the nodes are machines of their own; else all of them are 127.0.0.1.

    Attributes:
        address: Of the control service, host:port.
        dashboard: Its address, http://host:port.
        token: As given.
        network: As given.
    """

    def __init__(self, *, cpus: int = 2, token: str | None = TOKEN, network: Network | None = None) -> None:
        self.token = token
        self.network = network
        self.folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        self._processes: list[subprocess.Popen[bytes]] = []
        port, dashboard, client = free_ports(3)
        self.dashboard = f"http://{self._host(0)}:{dashboard}"
        self.address = f"{self._host(0)}:{port}"
        self._head = [
            "--head", f"--port={port}", f"--dashboard-host={self._host(0)}", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--num-cpus={cpus}", f"--temp-dir={self.folder}",
        ]  # fmt: skip

    def __enter__(self) -> Nodes:
        self._start(self._head)
        self._wait()
        return self

    def add(self, *, cpus: int = 1, hiding: Path | None = None, machine: int | None = None) -> int:
        """Starts another node and returns its number.

        `hiding` is a folder in whose place it sees an empty one (needs root). `machine` is the one of the network that
        it is on; the next one by default.
        """
        self._start([f"--address={self.address}", f"--num-cpus={cpus}"], hiding, machine)
        self._wait()
        return len(self._processes) - 1

    def below(self, number: int, word: str) -> list[psutil.Process]:
        """Returns the processes of a node that have a word in their command."""
        found = []
        process = self._processes[number]
        for each in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            try:
                if word in " ".join(each.cmdline()):
                    found.append(each)
            except psutil.Error:  # it has ended meanwhile
                continue
        return found

    def environment(self, **changes: str) -> dict[str, str]:
        """Returns an environment for commands that use the cluster, with its token and a home without one."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "TUNE_"))}
        token = {"RAY_AUTH_TOKEN": self.token} if self.token is not None else {}
        return {**kept, **token, "HOME": str(self.folder), "RAY_USAGE_STATS_ENABLED": "0", **changes}

    def coretune(self, folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Starts the command on the head, in a folder."""
        code = "import sys; from coretune_cli.main import main; sys.exit(main())"
        return subprocess.Popen(
            [*self._on(0), sys.executable, "-c", code, *words],
            cwd=folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def alive(self) -> int:
        """Returns how many nodes the control service believes to be alive; 0 if it does not answer."""
        done = self._ask(ALIVE)
        return int(done.stdout.split()[-1]) if done.returncode == 0 else 0

    def users(self) -> list[str]:
        """Returns the classes of actors and the states of placement groups that are on the cluster."""
        done = self._ask(USERS)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        return found

    def end(self, number: int) -> None:
        """Ends a node, with all of its processes, at once."""
        process = self._processes[number]
        if process.poll() is not None:
            return
        parent = psutil.Process(process.pid)
        for each in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()

    def __exit__(self, *_: object) -> None:
        for number in reversed(range(len(self._processes))):
            self.end(number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _host(self, number: int) -> str:
        return self.network.address(number) if self.network is not None else "127.0.0.1"

    def _on(self, number: int) -> Sequence[str]:
        return self.network.on(number) if self.network is not None else []

    def _start(self, words: Sequence[str], hiding: Path | None = None, machine: int | None = None) -> None:
        number = len(self._processes)
        where = number if machine is None else machine
        mode = {"RAY_AUTH_MODE": "token"} if self.token is not None else {"RAY_AUTH_MODE": "disabled"}
        metrics, agent = free_ports(2)
        command = [
            *self._on(where),
            str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", *words,
            f"--node-ip-address={self._host(where)}", "--object-store-memory=80000000",
            f"--metrics-export-port={metrics}", f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0",
            "--max-worker-port=0",
        ]  # fmt: skip
        if hiding is not None:
            mount = f'mount -t tmpfs none "{hiding}" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, "sh", *command]
        environment = self.environment(**mode, PYTHONPATH="")
        with (self.folder / f"node-{number}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _ask(self, code: str) -> subprocess.CompletedProcess[str]:
        mode = {"RAY_AUTH_MODE": "token" if self.token is not None else "disabled"}
        return subprocess.run(
            [*self._on(0), sys.executable, "-c", code, self.address],
            env=self.environment(**mode), capture_output=True, text=True, timeout=90,
        )  # fmt: skip

    def _wait(self) -> None:
        """Waits until the cluster has the nodes whose processes live: the new one, and no more one that was ended."""
        deadline = time.monotonic() + START_S
        started = self._processes[-1]
        while self.alive() != sum(process.poll() is None for process in self._processes):
            if started.poll() is not None or time.monotonic() > deadline:
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("node-*.log"))
                raise RuntimeError(f"the node does not start: {logs}")
            time.sleep(0.5)


@contextmanager
def ray_nodes(*, cpus: int = 2, token: str | None = TOKEN, network: Network | None = None) -> Iterator[Nodes]:
    """Yields a cluster of one node, to which others can be added."""
    nodes = Nodes(cpus=cpus, token=token, network=network)
    try:
        yield nodes.__enter__()
    finally:
        nodes.__exit__()
