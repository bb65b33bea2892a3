"""The workers that execute one run together, as far as an execution has to agree with them."""

from __future__ import annotations

from typing import TypeVar

from coretune.results.record import Cause
from coretune.tuning.shard import Shard

T = TypeVar("T")


class AgreedFailure(Exception):
    """A failure that all workers of a run have agreed on.

    Attributes:
        cause: What it is.
    """

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Peers:
    """This worker's view of those that execute a run with it. This class is for a worker of its own.

    All workers call the same methods in the same order. What one of them cannot do, because another has failed
    meanwhile, raises; then it calls `agree`, as the one that failed does.

    Attributes:
        shard: This worker's place. Another one after each failure: what failed may have left messages behind.
    """

    shard = Shard()

    @property
    def first(self) -> bool:
        """Whether this is the worker that decides, and writes."""
        return self.shard.rank == 0

    def share(self, value: T) -> T:
        """Returns what the first worker gives; for the others it counts for nothing."""
        return value

    def check(self) -> None:
        """Ends a part of a run: returns once all workers have come here, and raises if one of them cannot."""

    def agree(self, cause: Cause, part: str) -> Cause:
        """Returns the cause that counts among all workers: the one that failed first.

        Args:
            cause: Why this worker cannot go on; perhaps only because another one cannot.
            part: In which part of the run, the same for all of them.
        """
        return cause
