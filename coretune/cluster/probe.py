"""What the nodes of a cluster have: versions, coretune, the results directory. Asked before anything is trained.

The function that looks is sent by value and uses the standard library alone, so that a node which cannot import
coretune can say so.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coretune.errors import UnfitError
from coretune.results.files import put_atomic

PATIENCE_S = 120.0
"""For a node's answer: a first worker there has to be started, and the archive unpacked."""


@dataclass(frozen=True)
class Node:
    """A node that can run something: its id, and how people call it."""

    id: str
    name: str


def look(results: str | None, token: str, patience_s: float = 5.0) -> dict[str, Any]:
    """Looks at the machine that executes this.

    Args:
        results: A directory that the asking process has put a file named `.probe-<token>` into, or None.
        token: The file's name and content.
        patience_s: How long to wait for the file: network file systems show new ones late.

    Returns:
        Host, the versions of Python, Ray and torch (None where a package is absent), what coretune here is (`code`,
        its digest, or `unusable`, why it cannot be imported), `storage`: what is wrong with the directory, or None, and
        `mark`: the file that was written there.
    """
    import importlib
    import importlib.metadata

    found: dict[str, Any] = {"host": socket.gethostname(), "python": platform.python_version()}
    for name in ("ray", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    try:
        package = importlib.import_module("coretune")
        importlib.import_module("coretune.spec.load")
        found["code"], found["unusable"] = code_digest(os.path.dirname(str(package.__file__))), None
    except Exception as error:
        found["code"], found["unusable"] = None, f"{type(error).__name__}: {error}"
    found["mark"] = f".probe-{token}-{secrets.token_hex(4)}"
    found["storage"] = storage_problem(results, token, found["mark"], patience_s) if results is not None else None
    return found


def storage_problem(results: str, token: str, own: str, patience_s: float) -> str | None:
    """Returns what is wrong with a shared directory as seen from here, or None; writes a file of that name there."""
    mark = os.path.join(results, f".probe-{token}")
    deadline = time.monotonic() + patience_s
    while not os.path.exists(mark):
        if time.monotonic() > deadline:
            return "it is another folder there" if os.path.isdir(results) else "there is no such folder"
        time.sleep(0.1)
    try:
        with open(mark) as file:
            if file.read() != token:
                return "it shows another content there"
        with open(os.path.join(results, own), "w") as file:
            file.write(token)
    except OSError as error:
        return f"it cannot be used there: {error.strerror}"
    return None


def code_digest(folder: str) -> str:
    """Returns a digest of a package's Python files, wherever it lies."""
    digest = hashlib.sha256()
    for place, folders, files in sorted(os.walk(folder)):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(place, name)
                digest.update(os.path.relpath(path, folder).replace(os.sep, "/").encode() + b"\0")
                with open(path, "rb") as file:
                    digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:16]


def check_nodes(
    ray: Any, shared: Path | None, nodes: Sequence[Node], *, called: str = "the results directory"
) -> list[str]:
    """Looks at nodes.

    Args:
        ray: The module, attached to the cluster.
        shared: A directory of a file system that all have to see, or None.
        nodes: Those that are looked at.
        called: What the directory is.

    Returns:
        What is worth a warning, one line each.

    Raises:
        UnfitError: A node lacks something or does not answer; all of it, one line each.
        StorageError: The directory cannot be written from here.
    """
    token = secrets.token_hex(8)
    place = str(shared.absolute()) if shared is not None else None
    try:
        if shared is not None:
            put_atomic(shared / f".probe-{token}", token.encode(), durable=False)
        with by_value(ray, __name__):
            answers = on_each(ray, nodes, look, place, token)
        unseen = _without_trace(answers, shared) if shared is not None else set()
    finally:
        _remove_traces(shared, token)
    faults, warnings = compare(answers, ours(), f"{called} {place}", unseen)
    if faults:
        raise UnfitError("\n".join(faults))
    lost = [f"node {node.name} has left the cluster while it was looked at" for node in nodes if node not in answers]
    return lost + warnings


def ours() -> dict[str, Any]:
    """Returns what `look` says of this process, without a directory."""
    return look(None, "")


def compare(
    answers: Mapping[Node, Any], here: Mapping[str, Any], shared: str, unseen: Iterable[Node] = ()
) -> tuple[list[str], list[str]]:
    """Returns what keeps nodes from running a study, and what is worth a warning.

    Args:
        answers: What `look` said, or the error in its place, by node.
        here: What it says of this process.
        shared: What the directory is, and where.
        unseen: Nodes whose writing into the directory is not seen from here.
    """
    faults, warnings, blind = [], [], []
    for node, found in answers.items():
        if isinstance(found, Exception):
            faults.append(f"node {node.name} does not answer: {reason(found)}")
            continue
        differ = [
            f"{name.capitalize()} {found[name]} (here {here[name]})"
            for name in ("python", "ray")
            if found[name] != here[name]
        ]
        if found["torch"] is None:
            differ.append(f"no torch (here {here['torch']})")
        elif _public(found["torch"]) != _public(here["torch"]):
            warnings.append(f"node {node.name} has torch {found['torch']}, this process {here['torch']}")
        if found["unusable"] is not None:
            differ.append(f"a coretune that cannot be imported: {found['unusable']}")
        elif found["code"] != here["code"]:
            differ.append(f"another coretune (code {found['code']}, here {here['code']})")
        if differ:
            faults.append(f"node {node.name} has {', '.join(differ)}")
        elif found["storage"] is not None or node in unseen:
            blind.append(f"{node.name} ({found['storage'] or 'what it writes there is not seen from here'})")
    if blind:
        faults.append(
            f"{shared} is not shared by all nodes: {', '.join(blind)}; it must be on storage that every node mounts at "
            "the same path (--out says where results go)"
        )
    return faults, warnings


def fitting_nodes(nodes: Iterable[Mapping[str, Any]], cpus: float, gpus: float) -> list[Node]:
    """Returns the living nodes that are large enough for a run, by name."""
    found = []
    for node in nodes:
        has = node.get("Resources", {})
        if node["Alive"] and has.get("CPU", 0) >= max(cpus, 1e-9) and has.get("GPU", 0) >= gpus:
            found.append(Node(node["NodeID"], node_name(node)))
    return sorted(found, key=lambda node: (node.name, node.id))


def node_name(node: Mapping[str, Any]) -> str:
    """Returns how people call a node of Ray's table: its host name and its address."""
    host, address = str(node.get("NodeManagerHostname") or "?"), str(node["NodeManagerAddress"])
    return host if host == address else f"{host} ({address})"


@contextmanager
def by_value(ray: Any, module: str) -> Iterator[None]:
    """Lets functions of a module be sent by value: to nodes that may not be able to import it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[module])
    try:
        yield
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[module])


def on_each(
    ray: Any, nodes: Iterable[Node], function: Callable[..., Any], *arguments: Any, patience_s: float = PATIENCE_S
) -> dict[Node, Any]:
    """Calls a function on nodes, at the same time; returns its results, or the error in a result's place.

    Nodes that leave the cluster meanwhile are left out.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {
        node: ray.remote(function)
        .options(num_cpus=0, max_retries=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
        .remote(*arguments)
        for node in nodes
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=patience_s)
    answers: dict[Node, Any] = {}
    for node, reference in asked.items():
        try:
            answers[node] = ray.get(reference, timeout=0)
        except Exception as error:  # a task raises what Ray wraps it in, or that it is late
            answers[node] = error
            ray.cancel(reference, force=True)
    return without_lost(answers, ray.nodes())


def without_lost(answers: Mapping[Node, Any], nodes: Iterable[Mapping[str, Any]]) -> dict[Node, Any]:
    """Returns answers without the errors of nodes that are not alive any more.

    Args:
        answers: What was found, or an error, by node.
        nodes: Ray's table, as it is now.
    """
    there = {each["NodeID"] for each in nodes if each["Alive"]}
    return {node: found for node, found in answers.items() if node.id in there or not isinstance(found, Exception)}


def _without_trace(answers: Mapping[Node, Any], results: Path) -> set[Node]:
    """Returns the nodes that wrote into the directory, as they say, of which nothing is seen here."""
    wrote = {
        node: results / found["mark"]
        for node, found in answers.items()
        if isinstance(found, dict) and found["storage"] is None
    }
    deadline = time.monotonic() + 5.0
    while (unseen := {node for node, path in wrote.items() if not path.exists()}) and time.monotonic() < deadline:
        time.sleep(0.1)
    return unseen


def _remove_traces(results: Path | None, token: str) -> None:
    if results is not None:
        for path in results.glob(f".probe-{token}*"):
            with suppress(OSError):
                path.unlink()


def _public(version: str) -> str:
    """Returns a version without the build that follows it: `+cpu` and `+cu130` compute the same."""
    return version.partition("+")[0]


def reason(error: Exception) -> str:
    """Returns the one line of an error of Ray's that says what happened."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if "Traceback" in str(error) else 0].strip()
