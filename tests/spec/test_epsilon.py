"""Sizes of perturbations: read as people write them, kept as fractions, printed as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.spec.epsilon import Norm, canonical_grid, canonical_step, eps_text, parse_eps, step_size


@pytest.mark.parametrize(
    ("value", "size", "text"),
    [
        ("8/255", Fraction(8, 255), "8/255"),
        ("3/255", Fraction(1, 85), "3/255"),
        (" 8 / 255 ", Fraction(8, 255), "8/255"),
        ("0.5/255", Fraction(1, 510), "1/510"),
        ("0.03", Fraction(3, 100), "0.03"),
        (0.03, Fraction(3, 100), "0.03"),
        (".5", Fraction(1, 2), "0.5"),
        ("1e-3", Fraction(1, 1000), "0.001"),
        (0, Fraction(0), "0"),
        ("0.0", Fraction(0), "0"),
        ("255/255", Fraction(1), "1.0"),
        ("1.0", Fraction(1), "1.0"),
        ("1/7", Fraction(1, 7), "255/1785"),
    ],
)
def test_a_size_is_a_fraction(value: str | float, size: Fraction, text: str) -> None:
    assert parse_eps(value) == size
    assert eps_text(size) == text
    assert parse_eps(text) == size


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("8", r'8 is too large for pixels in \[0, 1\]; 8 grey levels are "8/255"'),
        (8, r'8 grey levels are "8/255"'),
        ("1", r'1 grey levels are "1/255"'),
        ("300/255", r"300/255 is too large for pixels in \[0, 1\]$"),
        ("eight", "'eight' is no size of a perturbation; write a fraction"),
        ("-1/255", "is no size"),
        ("nan", "is no size"),
        ("8/0", "divides by zero"),
        (True, "is no size"),
    ],
)
def test_what_is_no_size_is_refused(value: str | int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_eps(value)


def test_l2_has_larger_sizes() -> None:
    assert parse_eps("8", "l2") == 8


@settings(deadline=None)
@given(st.fractions(min_value=0, max_value=1, max_denominator=10_000), st.sampled_from(["linf", "l2"]))
def test_what_is_printed_is_read_back(size: Fraction, norm: Norm) -> None:
    assert parse_eps(eps_text(size), norm) == size


def test_a_grid_is_ascending_without_doubles_and_without_zero() -> None:
    assert canonical_grid(["8/255", 0, "0.03", "16/510", "1/255"], "linf") == ("1/255", "0.03", "8/255")


@pytest.mark.parametrize(
    ("rule", "canonical", "size"),
    [
        ("eps/4", "eps/4", Fraction(2, 255)),
        (" eps / 4.0", "eps/4", Fraction(2, 255)),
        ("eps", "eps", Fraction(8, 255)),
        ("1.0*eps/1", "eps", Fraction(8, 255)),
        ("2.5*eps/steps", "2.5*eps/steps", Fraction(1, 255)),
        ("eps/steps", "eps/steps", Fraction(8, 20 * 255)),
        ("2/255", "2/255", Fraction(2, 255)),
        (0.01, "0.01", Fraction(1, 100)),
    ],
)
def test_a_step_size_is_a_rule_or_a_size(rule: str | float, canonical: str, size: Fraction) -> None:
    assert canonical_step(rule) == canonical
    assert canonical_step(canonical) == canonical
    assert step_size(canonical, Fraction(8, 255), 20) == size


@pytest.mark.parametrize("rule", ["eps*2", "steps", "", "0", "0*eps", "eps/0", "eps/steps/2"])
def test_what_is_no_step_size_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="step size"):
        canonical_step(rule)
