from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.tuning.batching import chunk_sizes


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [
        (0, 4, []),
        (1, 4, [1]),
        (3, 4, [3]),
        (4, 4, [4]),
        (5, 4, [5]),
        (6, 4, [4, 2]),
        (9, 4, [4, 5]),
        (3, 2, [3]),
        (3, 1, [1, 1, 1]),
        (256, 64, [64] * 4),
    ],
)
def test_known_sizes(samples: int, size: int, expected: list[int]) -> None:
    assert chunk_sizes(samples, size) == expected


@given(samples=st.integers(0, 500), size=st.integers(1, 100))
def test_chunks_are_of_the_size_and_none_is_alone(samples: int, size: int) -> None:
    sizes = chunk_sizes(samples, size)
    assert sum(sizes) == samples
    assert all(chunk == size for chunk in sizes[:-1])
    assert all(1 <= chunk <= size + 1 for chunk in sizes)
    if samples > 1 and size > 1:
        assert min(sizes) > 1
