from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.data.shares import Shares


def test_each_takes_neighbours_and_then_half_of_what_another_has_left() -> None:
    shares = Shares([10, 11, 12, 13, 14, 15, 16, 17], 2)
    assert [shares.take(0) for _ in range(4)] == [10, 11, 12, 13]
    assert [shares.take(0), shares.take(0)] == [16, 17]
    assert [shares.take(0), shares.take(1), shares.take(1)] == [15, 14, None]


def test_what_is_given_back_comes_next_and_the_rest_in_order() -> None:
    shares = Shares(range(6), 3)
    assert (shares.take(1), shares.take(2)) == (2, 4)
    shares.give_back(1, 2)
    assert (shares.take(1), len(shares)) == (2, 4)
    assert (shares.rest(), len(shares), shares.take(0)) == ([0, 1, 3, 5], 0, None)


@settings(deadline=None)
@given(st.integers(0, 60), st.lists(st.integers(0, 4), min_size=80, max_size=80))
def test_every_block_is_taken_once_whoever_asks(count: int, askers: list[int]) -> None:
    shares = Shares(range(count), 5)
    taken = [shares.take(asker) for asker in askers]
    assert sorted(block for block in taken if block is not None) == list(range(count))
    assert taken[count:] == [None] * (len(askers) - count)
