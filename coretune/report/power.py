"""What a paired comparison of n pairs can find: the power of the t-test, and the difference that it needs."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import chdtr, stdtrit

POWER = 0.8
_REACH, _POINTS, _STEPS = 9.0, 6001, 60


def minimum_detectable_difference(std: float, n: int, level: float) -> float | None:
    """Returns the true difference that a two-sided paired t-test would have found with 80 % power.

    It is δ · s / √n, with δ the noncentrality at which the noncentral t with n − 1 degrees of freedom leaves ± the
    critical value with probability 0.8. It says what these n pairs, with this spread, *could have found*, and so how
    far "no difference" reaches. It is not the power of the test at the difference that was seen, which would say
    nothing beyond p.

    Args:
        std: Standard deviation s of the differences, ddof = 1.
        n: Pairs.
        level: Two-sided level of the test, in (0, 1); for one of m tests, the family's level / m.

    Returns:
        It, in the units of `std`; None for n < 2, without spread, and where it is no finite number.
    """
    if n < 2 or not std > 0:
        return None
    found = noncentrality(n - 1, level) * std / math.sqrt(n)
    return found if math.isfinite(found) else None


@lru_cache(maxsize=256)
def noncentrality(freedom: int, level: float) -> float:
    """Returns the noncentrality at which a two-sided t-test has 80 % power.

    It is 0 where the level is that already, and infinite where the test cannot reject at any t that is a number.

    Args:
        freedom: Degrees of freedom, at least 1.
        level: Two-sided level, in (0, 1).
    """
    if level >= POWER or not math.isfinite(_critical(freedom, level)):
        return 0.0 if level >= POWER else math.inf
    low, high = 0.0, 1.0
    while t_power(high, freedom, level) < POWER:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if t_power(middle, freedom, level) < POWER else (low, middle)
    return high


def t_power(noncentrality: float, freedom: int, level: float) -> float:
    """Returns the power of a two-sided t-test, P(|T| > t) for T = (Z + δ) / √(V / ν).

    |T| > t if V < ν (Z + δ)² / t². Its mean over the standard normal Z is taken by the trapezoidal rule on a smooth
    integrand, which is good to 1e-6 also for one degree of freedom and tiny levels, where series for the noncentral t
    do not converge.

    Args:
        noncentrality: δ, the true difference in standard errors.
        freedom: ν, at least 1.
        level: Two-sided level, in (0, 1).
    """
    critical = _critical(freedom, level)
    z = np.linspace(-_REACH, _REACH, _POINTS)
    density = np.exp(-z * z / 2)
    found = chdtr(freedom, freedom * ((z + noncentrality) / critical) ** 2)
    return float((found * density).sum() / density.sum())


def _critical(freedom: int, level: float) -> float:
    return -float(stdtrit(freedom, level / 2))
