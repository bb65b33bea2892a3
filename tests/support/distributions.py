"""Statistical tests of draws."""

from __future__ import annotations

from scipy import stats
from torch import Tensor


def assert_beta(draws: Tensor, alpha: float) -> None:
    """Kolmogorov-Smirnov inside [0.01, 0.99], binomial outside: near 1 floating-point numbers are too coarse."""
    values, cdf = draws.numpy(), stats.beta(alpha, alpha).cdf
    low, high = cdf(0.01), cdf(0.99)
    inside = values[(values >= 0.01) & (values <= 0.99)]
    assert stats.kstest(inside, lambda x: (cdf(x) - low) / (high - low)).pvalue > 0.01
    for count in (int((values < 0.01).sum()), int((values > 0.99).sum())):
        assert stats.binomtest(count, len(values), low).pvalue > 0.01
