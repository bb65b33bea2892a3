"""A Ray cluster of several nodes on this machine, started as an administrator does: with `ray start`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

TOKEN = "coretune-test-" + "t" * 34
START_S = 120.0


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
    """A head without work for itself, and further nodes; each in a process that ends with the test.

    Attributes:
        address: Of the control service, host:port.
        dashboard: Its address, http://127.0.0.1:port.
        token: What the cluster wants to see.
    """

    def __init__(self, *, cpus: int = 2, token: str | None = TOKEN) -> None:
        self.token = token
        self.folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port, dashboard, client = free_ports(3)
        self.dashboard = f"http://127.0.0.1:{dashboard}"
        self.address = f"127.0.0.1:{self.port}"
        self._cpus = cpus
        self._head = [
            "--head", f"--port={self.port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--num-cpus={cpus}", f"--temp-dir={self.folder}",
        ]  # fmt: skip

    def __enter__(self) -> Nodes:
        self._start(self._head)
        self._wait(1)
        return self

    def add(self, *, cpus: int = 1, hiding: Path | None = None) -> None:
        """Starts another node; `hiding` is a folder in whose place it sees an empty one (needs root)."""
        before = self._alive()
        self._start([f"--address={self.address}", f"--num-cpus={cpus}"], hiding)
        self._wait(before + 1)

    def environment(self, **changes: str) -> dict[str, str]:
        """Returns an environment for commands that use the cluster, with its token and a home without one."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "TUNE_"))}
        token = {"RAY_AUTH_TOKEN": self.token} if self.token is not None else {}
        return {**kept, **token, "HOME": str(self.folder), "RAY_USAGE_STATS_ENABLED": "0", **changes}

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            for each in below:
                try:
                    each.kill()
                except psutil.NoSuchProcess:
                    continue
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, words: Sequence[str], hiding: Path | None = None) -> None:
        mode = {"RAY_AUTH_MODE": "token"} if self.token is not None else {"RAY_AUTH_MODE": "disabled"}
        metrics, agent = free_ports(2)
        command = [
            str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", *words,
            "--node-ip-address=127.0.0.1", "--object-store-memory=80000000", f"--metrics-export-port={metrics}",
            f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0",
        ]  # fmt: skip
        if hiding is not None:
            mount = f'mount -t tmpfs none "{hiding}" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, "sh", *command]
        environment = self.environment(**mode, PYTHONPATH="")
        with (self.folder / f"node-{len(self._processes)}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _alive(self) -> int:
        code = (
            "import ray, sys; from ray._raylet import GcsClient\n"
            "print(sum(node.state == 0 for node in GcsClient(address=sys.argv[1]).get_all_node_info().values()))"
        )
        mode = {"RAY_AUTH_MODE": "token" if self.token is not None else "disabled"}
        done = subprocess.run(
            [sys.executable, "-c", code, self.address],
            env=self.environment(**mode), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return int(done.stdout.split()[-1]) if done.returncode == 0 else 0

    def _wait(self, nodes: int) -> None:
        deadline = time.monotonic() + START_S
        while self._alive() < nodes:
            ended = [process for process in self._processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("node-*.log"))
                raise RuntimeError(f"the node does not start: {logs}")
            time.sleep(0.5)


@contextmanager
def ray_nodes(*, cpus: int = 2, token: str | None = TOKEN) -> Iterator[Nodes]:
    """Yields a cluster of one node, to which others can be added."""
    nodes = Nodes(cpus=cpus, token=token)
    try:
        yield nodes.__enter__()
    finally:
        nodes.__exit__()
