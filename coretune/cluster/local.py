"""A Ray cluster for the time of one command: attached to, or started here and stopped with it."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import coretune
from coretune.cluster.apart import processes_apart
from coretune.cluster.reach import reach
from coretune.cluster.shipping import runtime_env
from coretune.cluster.shutdown import shut_down_after
from coretune.errors import RequestError, UnfitError
from coretune.results.manifest import usable_cpus
from coretune.spec.study import Resources

# Read by Ray when it is imported or started. Tune's own loggers, snapshots and signal handler would repeat what
# coretune's records do, slowly; the working directory must stay, since paths in a study are relative to it.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}

EXPECTED = (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError)
"""What Ray raises where it cannot start or be reached; on a machine that is too busy also a plain `Exception`."""

VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
"""What Ray says of both sides, the cluster's first, where they differ."""

SOCKET = "session_2026-11-24_12-00-00_000000_4194304/sockets/plasma_store"
"""The longest path that a local cluster makes a socket at, below its temporary folder."""


@dataclass(frozen=True)
class Cluster:
    """What a study may use.

    Attributes:
        slots: Runs of the most workers at a time.
        places: Workers at a time.
        cpus: CPUs in all; of a local cluster those of this machine, which slots may have to share.
        gpus: GPUs in all.
        local: Whether it was started by this command.
        shipped: Bytes of coretune and plug-in files that its nodes get.
    """

    slots: int
    cpus: float
    gpus: float
    local: bool
    places: int = field(default=1, compare=False)
    shipped: int = field(default=0, compare=False)


@contextmanager
def cluster(resources: Resources, *, address: str | None = None, plugins: Sequence[str] = ()) -> Iterator[Cluster]:
    """Attaches to a Ray cluster, or starts one on this machine for the time of the context.

    Args:
        resources: What a run needs, and how many run at a time.
        address: `auto`, `host:port`, or None for `RAY_ADDRESS` or else a cluster of our own.
        plugins: Plug-in files, which the nodes of a cluster that is attached to get together with coretune.

    Raises:
        RequestError: The address is one that Tune cannot use.
        UnfitError: The cluster cannot be reached, it has other versions of Ray or Python, or it or this machine is too
            small for one run.
    """
    address = check_address(address)
    local = address in (None, "local")
    environment, shipped = ({}, 0) if local else runtime_env(plugins)
    arguments = _local_arguments(resources) if local else {"address": address, "runtime_env": environment}
    with _initialised(import_ray(local=local), arguments, None if local else address) as ray:
        yield replace(_measure(ray, resources, local), shipped=shipped)


@contextmanager
def attached(address: str, environment: Mapping[str, object] | None = None) -> Iterator[Any]:
    """Attaches to a Ray cluster with no study, and yields the module.

    Args:
        address: `auto` or `host:port`.
        environment: What Ray shall prepare on each node, as `runtime_env` returns it.

    Raises:
        RequestError: It is no address, or one of Ray Client.
        UnfitError: No cluster answers there, or not with our token or our versions.
    """
    checked = check_address(address) or address
    reach(checked)
    arguments = {"address": checked, **({"runtime_env": environment} if environment else {})}
    with _initialised(import_ray(local=False), arguments, checked) as ray:
        yield ray


@contextmanager
def _initialised(ray: Any, arguments: Mapping[str, object], address: str | None) -> Iterator[Any]:
    """Starts Ray, or attaches to it where there is an address, for the time of the context."""
    try:
        with _own_signals(), _importable_workers(), processes_apart():
            ray.init(**arguments, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:
        if not isinstance(error, EXPECTED) and type(error) is not Exception:
            raise
        raise UnfitError(_unreached(error, address)) from error
    with shut_down_after(ray):
        yield ray


def _unreached(error: Exception, address: str | None) -> str:
    """Returns why Ray could not be started or reached, in one line."""
    said = str(error).strip() or type(error).__name__
    if address is None:
        return f"a local Ray cluster does not start: {said.splitlines()[0]}"
    versions = VERSIONS.findall(said)
    if said.startswith("Version mismatch") and len(versions) == 2:
        (theirs_ray, theirs), (our_ray, ours) = versions
        return (
            f"the cluster at {address} has Ray {theirs_ray} and Python {theirs}, this process Ray {our_ray} and Python "
            f"{ours}: attach with the same versions, or let the cluster drive: coretune study submit"
        )
    return f"no Ray cluster answers at {address}: {said.splitlines()[0]}"


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts signal handlers back, also those of the C library: Ray takes SIGTERM, and would end the process with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def _importable_workers() -> Iterator[None]:
    """Lets workers that inherit this environment find this coretune.

    An editable installation is found by a hook that comes after the path. Workers have the working directory on theirs,
    and a folder named `coretune` in it (a checkout seen from its parent) would be taken for the package.
    """
    before = os.environ.get("PYTHONPATH")
    root = str(Path(coretune.__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = root if not before else f"{root}{os.pathsep}{before}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def check_address(address: str | None) -> str | None:
    """Returns the address that counts: the given one, else `RAY_ADDRESS`, else None.

    Raises:
        RequestError: It is one that Tune cannot use.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is not None and address.startswith("ray://"):
        raise RequestError(
            f"--address {address}: Ray Client cannot drive a study; use host:port from a node of the cluster, or let "
            "the cluster drive: coretune study submit STUDY --address http://HEAD:8265"
        )
    return address


def import_ray(*, local: bool = True) -> Any:
    """Imports Ray with the settings that it reads only then, and returns it.

    Args:
        local: Whether a cluster of our own will be started. Ray would write its token into HOME; a token of this
            process keeps the cluster private without a file.
    """
    if "ray" not in sys.modules:
        os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
        if local:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            if not os.environ.get("RAY_AUTH_TOKEN_PATH"):
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    return ray


def temporary_folder() -> Path:
    """Returns where a local cluster keeps sockets, logs and spilled objects: Ray's own rule, without importing Ray."""
    place = os.environ.get("TMPDIR", "/tmp") if sys.platform.startswith("linux") else "/tmp"
    return Path(os.environ.get("RAY_TMPDIR", place)) / "ray"


def socket_excess(folder: Path) -> int:
    """Returns by how many bytes a temporary folder's path is too long for the system's sockets; 0 if it is not."""
    longest = 107 if sys.platform.startswith("linux") else 103
    return max(0, len(os.fsencode(folder / SOCKET)) - longest)


def _local_arguments(resources: Resources) -> dict[str, object]:
    """Returns how a local cluster is started: with this machine's CPUs, or more if so many slots are asked for.

    Raises:
        UnfitError: One run needs more CPUs than this process may use.
    """
    usable = usable_cpus()
    needs = resources.workers * resources.cpus
    if resources.least_workers * resources.cpus > usable and resources.workers > 1:
        fitting = math.floor(usable / resources.cpus + 1e-9)
        right = f"resources.workers: {fitting}, or " if fitting else ""
        raise UnfitError(
            f"one run needs {needs:g} CPUs (resources.workers × resources.cpus), this process may use {usable}; write "
            f"{right}resources.cpus: {usable / resources.workers:.2g}, or attach to a larger cluster with --address"
        )
    if resources.cpus > usable:
        raise UnfitError(
            f"one run needs {resources.cpus:g} CPUs (resources.cpus), this process may use {usable}; "
            "lower it, or attach to a larger cluster with --address"
        )
    asked = math.ceil(resources.slots * needs) if resources.slots is not None else 0
    return {
        "address": "local",
        "num_cpus": max(usable, asked),
        "include_dashboard": False,
        "dashboard_host": "127.0.0.1",
        "object_store_memory": 200 * 1024 * 1024,
        "_node_ip_address": "127.0.0.1",
    }


def _measure(ray: Any, resources: Resources, local: bool) -> Cluster:
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    workers = places([total] if local else [node["Resources"] for node in ray.nodes() if node["Alive"]], resources)
    fits = resources.groups(workers)
    if fits < 1:
        raise UnfitError(too_small(cpus, gpus, resources, workers, "" if local else " on one node"))
    slots, processors = min(fits, resources.slots or fits), min(cpus, usable_cpus()) if local else cpus
    return Cluster(slots, processors, gpus, local, workers)


def places(nodes: Iterable[Mapping[str, float]], resources: Resources) -> int:
    """Returns how many workers fit on nodes at a time, each on one of them, by what the nodes have."""
    found = 0
    for has in nodes:
        fits = math.floor(has.get("CPU", 0.0) / resources.cpus + 1e-9)
        if resources.gpus:
            fits = min(fits, math.floor(has.get("GPU", 0.0) / resources.gpus + 1e-9))
        found += fits
    return found


def too_small(cpus: float, gpus: float, resources: Resources, workers: int, where: str) -> str:
    """Returns what to say of a cluster on which not one run fits, but so many workers."""
    if resources.workers == 1:
        return (
            f"one run needs {resources.cpus:g} CPUs and {resources.gpus:g} GPUs{where}, "
            f"the cluster has {cpus:g} and {gpus:g}; change resources.cpus or resources.gpus"
        )
    right = f"resources.workers: {workers}" if workers else "less resources.cpus or resources.gpus"
    return (
        f"one run needs {resources.least_workers} workers of {resources.cpus:g} CPUs and {resources.gpus:g} GPUs each, "
        f"the cluster, with {cpus:g} and {gpus:g}, holds {workers}; write {right}"
    )
