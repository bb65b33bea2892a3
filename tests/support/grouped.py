"""What one of several workers does in the tests of runs that they execute together. All workers import it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from coretune.cluster.desk import Verdict
from coretune.cluster.peers import GroupPeers, Membership
from coretune.results.record import Cause
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.runs.peers import Peers
from coretune.spec.catalog import load_catalog
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Tick
from coretune.tuning.shard import Shard

CPU = torch.device("cpu")


class _Desk:
    """Meetings over the crew's own process group, which no run uses."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def __call__(self, method: str, crew: str, rank: int, cause: Cause, part: str, *, consequence: bool) -> Verdict:
        assert method == "meet"
        told: list[Any] = [None] * self._shard.workers
        dist.all_gather_object(told, (cause, part, consequence), group=self._shard.group)
        assert len({part for _, part, _ in told}) == 1
        return Verdict(next((cause for cause, _, follows in told if not follows), None))


def peers_of(shard: Shard) -> Peers:
    """The peers of a crew's worker. Process groups are counted by the whole crew: all of it takes part, or one."""
    if shard.workers == 1:
        return Peers()
    return GroupPeers(Membership(_Desk(shard), "crew", shard.rank, shard.workers, CPU, 60.0))


def executed(
    shard: Shard, jobs: list[Job], root: Path, stop_after: int | None = None, tick_s: float = 1e9
) -> list[dict[str, Any]]:
    """Executes jobs one after another in one group; says of each its events, record, and whether it is alike."""
    peers = peers_of(shard)
    found = []
    for job in jobs:
        where = Context(CPU, tick_s=tick_s, shard=peers.shard)
        execution = Execution(job, ResultsStore(root), load_catalog(job.plugins), where, peers=peers)
        events = []
        for event in execution:
            events.append(_told(event))
            if peers.first and len(events) == stop_after:
                execution.ask_to_stop()
        found.append({"events": events, "record": execution.record})
    return found


def shared(shard: Shard, value: Any) -> Any:
    """What the first worker gives, when the others give something else."""
    return peers_of(shard).share(value if shard.rank == 0 else None)


def _told(event: Tick | EpochReport) -> tuple[Any, ...]:
    metrics: Mapping[str, float] | None = getattr(event, "metrics", None)
    return (event.epoch, None if metrics is None else dict(metrics))
