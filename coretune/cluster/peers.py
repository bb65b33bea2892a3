"""The workers of a group, as a run that they execute together sees them. Without Ray: over torch's process groups."""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from coretune.results.record import Cause
from coretune.runs.causes import CONNECTION
from coretune.runs.peers import Peers
from coretune.tuning.shard import Link, Shard

T = TypeVar("T")


class GroupBroken(RuntimeError):
    """The workers cannot go on together: they are replaced."""


@dataclass(frozen=True)
class Membership:
    """A worker's place in its group.

    Attributes:
        desk: Calls a method of the group's desk: its name and its arguments.
        crew: The same for all workers that were started together.
        rank: This worker's number.
        workers: How many there are.
        device: Where this one computes.
        timeout_s: After so many seconds without the others an operation fails.
    """

    desk: Callable[..., Any]
    crew: str
    rank: int
    workers: int
    device: torch.device
    timeout_s: float


class GroupPeers(Peers):
    """The workers of a group, by a process group of their own, which is replaced after each failure.

    Who fails leaves it. The others, who wait for it, notice that at once with gloo; with NCCL they may not, and the
    group is rebuilt when they have been waited for long enough.
    """

    def __init__(self, member: Membership) -> None:
        self._member = member
        self.shard = self._new_shard()

    def share(self, value: T) -> T:
        """Returns what the first worker gives."""
        content = pickle.dumps(value) if self.first else b""
        size = self.shard.agree(len(content), self._member.device)
        buffer = torch.frombuffer(bytearray(content or size), dtype=torch.uint8).to(self._member.device)
        dist.broadcast(buffer, src=0, group=self.shard.group)
        shared: T = value if self.first else pickle.loads(buffer.cpu().numpy().tobytes())
        return shared

    def check(self) -> None:
        """Returns once all workers have come here."""
        self.shard.agree(0, self._member.device)

    def agree(self, cause: Cause, part: str) -> Cause:
        """Leaves the process group, and returns the cause that all workers agree on, with a new one.

        Raises:
            GroupBroken: One of them does not come, or they do not stand at the same place.
        """
        member = self._member
        follows = any(text in cause.message for text in CONNECTION)
        if self.shard.link is not None:
            self.shard.link.leave()
        verdict = member.desk("meet", member.crew, member.rank, cause, part, consequence=follows)
        if verdict.cause is None:
            raise GroupBroken(f"worker {member.rank} cannot go on: {cause.message}")
        self.shard = self._new_shard()
        agreed: Cause = verdict.cause
        return agreed

    def _new_shard(self) -> Shard:
        member = self._member
        timeout = datetime.timedelta(seconds=member.timeout_s)
        group = dist.new_group(list(range(member.workers)), timeout=timeout)
        assert isinstance(group, dist.ProcessGroup)  # this worker is one of them
        return Shard(member.rank, member.workers, Link(group))
