"""Queues are first in, first out, whatever the sizes of the batches."""

from __future__ import annotations

from collections import deque

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.tuning.queues import enqueue

torch.set_num_threads(1)


@given(st.integers(1, 7), st.lists(st.integers(1, 10), min_size=1, max_size=5))
@settings(max_examples=60)
def test_the_newest_rows_replace_the_oldest(size: int, batches: list[int]) -> None:
    rows, numbers, pointer = torch.zeros(size, 2), torch.full((size,), -1), torch.zeros((), dtype=torch.int64)
    expected = deque([-1] * size, maxlen=size)
    start = 0
    for count in batches:
        new = torch.arange(start, start + count)
        enqueue(pointer, (rows, new[:, None].double().expand(-1, 2)), (numbers, new))
        expected.extend(new.tolist())
        start += count
    oldest = int(pointer)
    assert torch.cat([numbers[oldest:], numbers[:oldest]]).tolist() == list(expected)
    assert torch.equal(rows[numbers >= 0, 0], numbers[numbers >= 0].float())


def test_no_graph_is_kept() -> None:
    queue, pointer = torch.zeros(3, 2), torch.zeros((), dtype=torch.int64)
    enqueue(pointer, (queue, torch.ones(2, 2, requires_grad=True) * 2))
    assert not queue.requires_grad and queue.tolist() == [[2, 2], [2, 2], [0, 0]]
