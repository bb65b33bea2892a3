"""Sizes of perturbations as people write them: ε as a fraction, and step sizes as a rule of it. No torch here.

They are kept as fractions, so that 8/255 is printed as 8/255 and two grids that mean the same are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

Norm = Literal["linf", "l2"]

GREY_LEVELS = 255

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?"
_EPS = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*(\d+))?\s*")
_RULE = re.compile(rf"\s*(?:({_NUMBER})\s*\*\s*)?eps\s*(?:/\s*(steps|{_NUMBER}))?\s*")


def parse_eps(value: str | int | float, norm: Norm = "linf") -> Fraction:
    """Returns a size of perturbations: "8/255", "0.03", 0.03 or 0.

    Args:
        value: As somebody wrote it. A number means what its shortest decimal says.
        norm: In L∞ a size beyond 1 has no meaning, and a whole number was meant in grey levels.

    Raises:
        ValueError: It is no size; the message says what would be.
    """
    text = str(value)
    found = _EPS.fullmatch(text)
    if isinstance(value, bool) or found is None:
        raise ValueError(f'{text!r} is no size of a perturbation; write a fraction, "8/255", or a decimal, "0.03"')
    if found[2] is not None and int(found[2]) == 0:
        raise ValueError(f"{text!r} divides by zero")
    size = Fraction(found[1]) / int(found[2] or 1)
    if norm == "linf" and (size > 1 or (size == 1 and text.strip() == "1")):
        grey = Fraction(found[1]) <= GREY_LEVELS and found[2] is None
        hint = f'; {text.strip()} grey levels are "{text.strip()}/{GREY_LEVELS}"' if grey else ""
        raise ValueError(f"{text} is too large for pixels in [0, 1]{hint}")
    return size


def eps_text(size: Fraction) -> str:
    """Returns a size as people write it, which `parse_eps` reads back: k/255, else a short decimal, else a fraction."""
    if size == 0:
        return "0"
    if size == 1:
        return "1.0"
    if (10_000 * size).denominator == 1:
        return f"{float(size):.10g}"
    grey = size * GREY_LEVELS
    return f"{grey.numerator}/{GREY_LEVELS * grey.denominator}"


def canonical_grid(values: Iterable[str | int | float], norm: Norm) -> tuple[str, ...]:
    """Returns sizes in ascending order, each once, without 0, with which every curve begins.

    Raises:
        ValueError: One of them is no size.
    """
    return tuple(eps_text(size) for size in sorted({parse_eps(value, norm) for value in values} - {Fraction(0)}))


def canonical_step(rule: str | int | float) -> str:
    """Returns the one text of a step-size rule: `eps/4`, `2.5*eps/steps`, `eps`, or a size.

    Raises:
        ValueError: It is no rule.
    """
    found = _RULE.fullmatch(str(rule))
    if found is None:
        try:
            size = parse_eps(rule, "l2")
        except ValueError as error:
            raise ValueError(
                f'{str(rule)!r} is no step size; write a rule, "eps/4" or "2.5*eps/steps", or a size, "2/255"'
            ) from error
        if size == 0:
            raise ValueError("a step size of 0 goes nowhere")
        return eps_text(size)
    factor, divisor = found[1], found[2]
    if Fraction(factor or 1) == 0 or (divisor not in (None, "steps") and Fraction(divisor) == 0):
        raise ValueError(f"{str(rule)!r} is no step size: it is 0, or divides by 0")
    front = "" if factor is None or Fraction(factor) == 1 else f"{float(Fraction(factor)):.10g}*"
    back = "" if divisor is None or (divisor != "steps" and Fraction(divisor) == 1) else f"/{divisor}"
    if back not in ("", "/steps"):
        back = f"/{float(Fraction(divisor)):.10g}"
    return f"{front}eps{back}"


def step_size(rule: str, eps: Fraction, steps: int) -> Fraction:
    """Returns the size of one step by a canonical rule.

    Args:
        rule: As `canonical_step` returns it.
        eps: Size of the ball.
        steps: Number of steps.
    """
    found = _RULE.fullmatch(rule)
    if found is None:
        return parse_eps(rule, "l2")
    divisor = Fraction(steps) if found[2] == "steps" else Fraction(found[2] or 1)
    return Fraction(found[1] or 1) * eps / divisor
