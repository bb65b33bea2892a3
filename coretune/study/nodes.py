"""What a study needs on every node of a cluster: asked before anything is trained, and named by node where it lacks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coretune.cluster.local import Cluster
from coretune.cluster.probe import check_nodes, fitting_nodes, on_each, reason
from coretune.data.source import holds_nothing, open_any
from coretune.errors import RequestError, UnfitError
from coretune.results.mirror import Mirror, OnDisk
from coretune.results.remote import Remote
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Ref
from coretune.spec.study import Resources
from coretune.study.events import EventLog
from coretune.study.found import datasets_of
from coretune.study.resolved import ResolvedStudy


@dataclass(frozen=True)
class Needs:
    """What runs read on the node that they are on.

    Attributes:
        datasets: Label, reference and path of each data set.
        checkpoints: Label of the backbone and path of each checkpoint.
        plugins: Plug-in files that declare some of it.
        results: Address of the results, where they are in an object store.
    """

    datasets: tuple[tuple[str, Ref, str | None], ...]
    checkpoints: tuple[tuple[str, str], ...]
    plugins: tuple[str, ...] = ()
    results: str | None = None


def needs_of(study: ResolvedStudy, results: OnDisk) -> Needs:
    """Returns what the runs of a study need, each thing once, and the address of the results in an object store."""
    cells = [cell.cell for cell in study.cells]
    checkpoints = {cell.backbone.label: cell.backbone.checkpoint for cell in cells if cell.backbone.checkpoint}
    return Needs(
        tuple((label, dataset.ref, dataset.path) for label, dataset in datasets_of(cells).items()),
        tuple(checkpoints.items()),
        study.loaded.plugins,
        results.place if isinstance(results, Mirror) else None,
    )


def lacks(needs: Needs) -> list[str]:
    """Returns what is not to be found on the machine that executes this, one line each."""
    catalog = load_catalog(needs.plugins)
    found = []
    for label, ref, path in needs.datasets:
        try:
            open_any(catalog, ref, path)
        except (RequestError, UnfitError) as error:
            found.append(f"data set {label}: {str(error).splitlines()[0]}")
    for label, checkpoint in needs.checkpoints:
        try:
            if holds_nothing(Path(checkpoint)):
                found.append(f"checkpoint of {label}: nothing is at {checkpoint}")
        except UnfitError as error:
            found.append(f"checkpoint of {label}: {error}")
    if needs.results is not None and (problem := unreachable(needs.results)) is not None:
        found.append(f"results: {problem}")
    return found


def unreachable(url: str) -> str | None:
    """Returns why this machine cannot write and read a place in an object store, or None."""
    name, content = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(8)
    try:
        remote = Remote(url)
        remote.put(name, content)
        same = remote.get(name) == content
        remote.delete([name])
    except (RequestError, UnfitError) as error:
        return str(error)
    return None if same else f"{url} does not give back what is written to it"


def check_cluster(
    ray: Any, study: ResolvedStudy, results: OnDisk, resources: Resources, found: Cluster, events: EventLog
) -> None:
    """Refuses an attached cluster some node of which cannot do the study's runs; says what it gets, and what differs.

    Raises:
        UnfitError: A node has other versions, does not see the results directory, or lacks data or a checkpoint.
        StorageError: The results directory cannot be written.
    """
    if found.local:
        return
    if found.shipped:
        plugins = len(study.loaded.plugins)
        along = f" and {plugins} plug-in file{'s' if plugins > 1 else ''}" if plugins else ""
        events.add("info", f"coretune{along} for its nodes: {found.shipped / 1024:,.0f} KiB")
    shared = None if isinstance(results, Mirror) else results.root
    nodes = fitting_nodes(ray.nodes(), resources.cpus, resources.gpus)
    for warning in check_nodes(ray, shared, nodes):
        events.add("warning", warning)
    faults = []
    for node, lacking in on_each(ray, nodes, lacks, needs_of(study, results)).items():
        if isinstance(lacking, Exception):
            faults.append(f"node {node.name} does not answer: {reason(lacking)}")
        else:
            faults += [f"node {node.name} lacks {thing}" for thing in lacking]
    if faults:
        raise UnfitError("\n".join(faults))
    events.add(
        "info", f"{len(nodes)} node{'s' if len(nodes) != 1 else ''} looked at: versions, results directory, data"
    )
