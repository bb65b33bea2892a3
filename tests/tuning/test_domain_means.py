"""Means within domains equal loops over samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.tuning.domain_means import domain_means, memberships

torch.set_num_threads(1)


@settings(max_examples=50)
@given(n=st.integers(0, 9), number=st.integers(1, 4), width=st.integers(0, 3), seed=st.integers(0, 10**6))
def test_equals_loops(n: int, number: int, width: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    domain = torch.randint(number, (n,), generator=draws)
    values = torch.randn((n, width) if width else (n,), generator=draws, dtype=torch.float64)
    found = domain_means(values, memberships(domain, number))
    means = []
    for one in range(number):
        own = [values[i] for i in range(n) if int(domain[i]) == one]
        assert bool(found.present[one]) == bool(own)
        expected = sum(own) / len(own) if own else torch.zeros(values.shape[1:], dtype=torch.float64)
        torch.testing.assert_close(found.values[one], torch.as_tensor(expected))
        means += [expected] if own else []
    over = sum(means) / len(means) if means else torch.zeros(values.shape[1:], dtype=torch.float64)
    torch.testing.assert_close(found.over_domains(), torch.as_tensor(over))


def test_means_do_not_depend_on_the_order_of_samples() -> None:
    values, domain = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1, 0, 1])
    first, second = (domain_means(values[o], memberships(domain[o], 2)).values for o in ([0, 1, 2], [2, 0, 1]))
    assert first.tolist() == second.tolist() == pytest.approx([2.0, 3.5])
