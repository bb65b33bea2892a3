from __future__ import annotations

import pytest
import torch
from support.distributions import assert_beta

from coretune.tuning.beta import draw_beta


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_draws_are_beta(alpha: float) -> None:
    assert_beta(draw_beta(alpha, (20_000,), generator(11)), alpha)


def test_draws_follow_the_generator() -> None:
    first, again = (draw_beta(0.7, (2, 3), generator(4)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (2, 3) and first.dtype == torch.float64


def test_a_tiny_alpha_gives_zeros_and_ones() -> None:
    for alpha in (1e-3, 1e-30, 5e-324):
        draws = draw_beta(alpha, (2000,), generator())
        assert not draws.isnan().any()
        assert 0.45 < float(draws.mean()) < 0.55
        assert float((draws * (1 - draws)).mean()) < 1e-3
