"""Who does which block: each worker a run of neighbours, and whoever is through takes half of what another has left.

Neighbouring images often lie in one piece of a file (a parquet row group), which is then read by one worker only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Shares:
    """Blocks that are still to be done, divided among workers.

    Args:
        blocks: Which, in order.
        workers: How many there are, at least 1.
    """

    def __init__(self, blocks: Sequence[int], workers: int) -> None:
        edges = [len(blocks) * worker // workers for worker in range(workers + 1)]
        self._shares = [deque(blocks[edges[worker] : edges[worker + 1]]) for worker in range(workers)]

    def __len__(self) -> int:
        return sum(map(len, self._shares))

    def take(self, worker: int) -> int | None:
        """Returns a worker's next block, or None if nothing is left to do."""
        own = self._shares[worker]
        if not own:
            other = max(self._shares, key=len)
            for _ in range(-(-len(other) // 2)):
                own.appendleft(other.pop())
        return own.popleft() if own else None

    def give_back(self, worker: int, block: int) -> None:
        """Puts a block that a worker did not finish before all others of its share."""
        self._shares[worker].appendleft(block)

    def rest(self) -> list[int]:
        """Takes all that is left, in order."""
        found = sorted(block for share in self._shares for block in share)
        for share in self._shares:
            share.clear()
        return found
