"""Rows of past batches, kept in ring buffers: the newest replace the oldest."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def enqueue(pointer: Tensor, *pairs: tuple[Tensor, Tensor]) -> None:
    """Writes a batch's rows over the oldest rows of some queues and moves the pointer that they share.

    Of more rows than a queue holds, the last ones stay. Nothing waits for the device.

    Args:
        pointer: () int64, where the oldest row is; moved on in place.
        *pairs: A queue (K, ...), changed in place, and its new rows (n, ...); K and n are the same for all.
    """
    size, count = pairs[0][0].shape[0], pairs[0][1].shape[0]
    kept = min(size, count)
    place = (pointer + torch.arange(count - kept, count, device=pointer.device)) % size
    for queue, rows in pairs:
        queue.index_copy_(0, place, rows[count - kept :].to(queue.dtype))
    pointer.add_(count).remainder_(size)
