from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coretune_cli.epochs import epochs_table, metrics_by_epoch, spread


def test_metrics_come_in_the_order_of_epochs_and_without_times() -> None:
    found = metrics_by_epoch({10: {"top1": 3.0, "seconds": 9.0}, 2: {"top1": 1.0}, 5: {"seconds": 8.0}})
    assert list(found.items()) == [(2, {"top1": 1.0}), (10, {"top1": 3.0})]


def test_nothing_is_drawn_of_nothing() -> None:
    assert epochs_table({}, 80) is None and epochs_table({1: {"seconds": 1.0}}, 80) is None


@given(st.sets(st.integers(1, 10_000)), st.integers(2, 20))
def test_few_of_many_are_spread_from_the_first_to_the_last(numbers: set[int], most: int) -> None:
    ordered = sorted(numbers)
    kept = spread(ordered, most)
    assert len(kept) == min(most, len(ordered)) and kept == sorted(set(kept)) and set(kept) <= numbers
    assert not ordered or (kept[0], kept[-1]) == (ordered[0], ordered[-1])
