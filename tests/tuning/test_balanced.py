"""Domains take turns: any consecutive samples hold as many of each, and small domains come again."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.data.draws import permutation
from coretune.tuning.balanced import balanced_order


def slow_order(seed: int, epoch: int, domain: list[int]) -> list[int]:
    """Place by place, from decks of cards that are shuffled anew when they are used up."""
    number = max(domain) + 1
    decks: list[list[int]] = [[] for _ in range(number)]
    turns = [0] * number
    found = []
    for place in range(len(domain)):
        one = place % number
        if not decks[one]:
            members = [sample for sample, its in enumerate(domain) if its == one]
            drawn = permutation(seed, f"domain {one}, pass {turns[one]}", epoch, len(members))
            decks[one] = [members[card] for card in drawn]
            turns[one] += 1
        found.append(decks[one].pop(0))
    return found


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_equals_decks_of_cards(sizes: list[int], seed: int, epoch: int) -> None:
    domain = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int64)
    found = balanced_order(seed, epoch, domain)
    assert found.order.tolist() == slow_order(seed, epoch, domain.tolist())
    seen: Counter[int] = Counter()
    assert found.again is not None
    for sample, again in zip(found.order.tolist(), found.again.tolist(), strict=True):
        assert again == seen[sample]
        seen[sample] += 1


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4), start=st.integers(0, 99), size=st.integers(1, 30))
def test_any_consecutive_samples_hold_as_many_of_each_domain(sizes: list[int], start: int, size: int) -> None:
    domain = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    part = domain[balanced_order(0, 0, domain).order][start : start + size]
    counts = np.bincount(part, minlength=len(sizes))
    assert counts.max() - counts.min() <= 1


def test_a_large_domain_shows_another_part_in_each_epoch() -> None:
    domain = np.array([0] * 4 + [1] * 40, dtype=np.int64)
    first, second = (set(balanced_order(0, epoch, domain).order.tolist()) for epoch in (0, 1))
    assert set(range(4)) <= first and first != second
