"""Every wrong value of an argument is refused with its name, what was got and what is right."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from coretune.tuning.arguments import check_choice, check_generator, check_number, check_tensor, check_whole_number

NOT_NUMBERS: list[tuple[Any, str]] = [
    ("a", "'a'"),
    (None, "None"),
    (True, "True"),
    (1j, "1j"),
    ([1.0], "list"),
    (torch.tensor(0.5), "Tensor"),
    (Decimal("0.5"), "Decimal"),
]


@pytest.mark.parametrize(("value", "told"), NOT_NUMBERS, ids=[told for _, told in NOT_NUMBERS])
def test_what_is_no_number_is_refused_by_name(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^alpha: got {told}, need a finite number > 0 and <= 1$"):
        check_number("alpha", value, 0.0, 1.0, open_low=True)
    with pytest.raises(ValueError, match=f"^block: got {told}, need an integer >= 1$"):
        check_whole_number("block", value, 1)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.int64(1), Fraction(1, 2)])
def test_any_real_number_in_range_passes(value: Any) -> None:
    check_number("alpha", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [-1, 2, math.inf, -math.inf, math.nan, np.float32("nan"), 10**400, -(10**400)])
def test_numbers_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^alpha: got \S+, need a finite number >= 0 and <= 1$"):
        check_number("alpha", value, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"alpha: got \S+, need a finite number >= 0$"):
        check_number("alpha", value if value != 2 else math.inf, 0.0)


def test_none_passes_for_an_optional_integer_alone() -> None:
    check_whole_number("block", None, 1, optional=True)
    check_whole_number("block", 3, 1, optional=True)
    with pytest.raises(ValueError, match=r"^block: got 0, need an integer >= 1, or None$"):
        check_whole_number("block", 0, 1, optional=True)


@pytest.mark.parametrize(("value", "told"), [("c", "'c'"), (None, "None"), (np.zeros(2), "ndarray"), (3, "3")])
def test_what_is_no_choice_is_refused_by_name(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^scope: got {told}, need one of: a, b$"):
        check_choice("scope", value, ("a", "b"))


def test_generators_on_the_cpu_and_none_pass() -> None:
    check_generator("generator", torch.Generator())
    check_generator("generator", None)


@pytest.mark.parametrize(("value", "told"), [(5, "5"), ("a", "'a'"), (np.random.default_rng(), "Generator")])
def test_what_is_no_generator_is_refused_by_name(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^generator: got {told}, need a torch.Generator, one on the CPU.*; or None$"):
        check_generator("generator", value)


def test_a_message_about_a_tensor_is_plain_english() -> None:
    with pytest.raises(ValueError, match=r"^labels: got int, need an integer tensor \(4,\)$"):
        check_tensor("labels", 5, "integer", (4,), 5)
    with pytest.raises(ValueError, match=r"^z: got int, need a floating tensor \(n, d\)$"):
        check_tensor("z", 5, "floating", ("n", "d"), 5)
