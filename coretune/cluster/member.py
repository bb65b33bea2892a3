"""What a worker of a group does: it executes one run after another, together with the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ray
import ray.train.torch
import torch.distributed as dist

from coretune.cluster.desk import Sign, Task
from coretune.cluster.peers import GroupPeers, Membership
from coretune.errors import StorageError
from coretune.results.store import ResultsStore
from coretune.runs.build import OpenData, context_of
from coretune.runs.execute import Execution
from coretune.runs.process import set_up
from coretune.runs.speed import Speed
from coretune.spec.catalog import load_catalog
from coretune.spec.study import Resources


def serve(config: dict[str, Any]) -> None:
    """Executes runs until there are no more; the training function of a group's `TorchTrainer`.

    Args:
        config: `desk`, the actor; `resources`.

    Raises:
        GroupBroken: The workers have to be replaced.
    """
    resources: Resources = config["resources"]
    set_up(threads=resources.worker_threads, deterministic=resources.deterministic)
    rank, workers = dist.get_rank(), dist.get_world_size()
    name = [ray.get_runtime_context().get_actor_id()]
    dist.broadcast_object_list(name, src=0)
    member = Membership(
        desk=lambda method, *args, **options: ray.get(getattr(config["desk"], method).remote(*args, **options)),
        crew=str(name[0]),
        rank=rank,
        workers=workers,
        device=ray.train.torch.get_device(),
        timeout_s=resources.collective_timeout_s,
    )
    work(member, resources)


def work(member: Membership, resources: Resources) -> None:
    """Executes the runs that the desk gives, one after another."""
    member.desk("join", member.crew, member.rank, member.workers)
    peers, open_data, taken = GroupPeers(member), OpenData(), 0
    while (task := member.desk("next", member.crew, member.rank, taken)) is not None:
        taken += 1
        execute(task, member, peers, resources, open_data)


def execute(task: Task, member: Membership, peers: GroupPeers, resources: Resources, open_data: OpenData) -> None:
    """Executes one run; the first worker tells the desk how far it is."""
    context = replace(context_of(resources), device=member.device, shard=peers.shard)
    catalog, store, speed = load_catalog(task.job.plugins), ResultsStore(task.results), Speed()
    execution = Execution(task.job, store, catalog, context, open_data, peers)
    error: str | None = None
    try:
        for event in execution:
            if not peers.first:
                continue
            metrics = getattr(event, "metrics", None)
            sign = Sign(event.epoch, speed.after(event), None if metrics is None else dict(metrics), execution.life())
            if member.desk("report", member.crew, sign):
                execution.ask_to_stop()
    except StorageError as broken:  # the record could not be written, and the others have come to their end
        error = str(broken)
    if peers.first:
        outcome = "stopped" if execution.record is None else execution.record.status
        member.desk("end", member.crew, "unwritten" if error is not None else outcome, error)
