"""Comparisons of methods that a study plans before it runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from coretune.spec.frozen import Frozen
from coretune.spec.wording import shown


def check_pair(value: Any) -> Any:
    """Returns a contrast of two methods: first minus second.

    Raises:
        ValueError: It is no pair of texts.
    """
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(label, str) for label in value):
        raise ValueError(f"must be two labels of methods, [first, second], for first minus second; got {shown(value)}")
    return value


def check_pairs(value: Any) -> Any:
    """Returns the contrasts of a study.

    Raises:
        ValueError: There is none.
    """
    if isinstance(value, list | tuple) and not value:
        raise ValueError("needs at least one pair of methods, [first, second]")
    return value


Pair = Annotated[tuple[str, str], BeforeValidator(check_pair)]
Pairs = Annotated[tuple[Pair, ...], BeforeValidator(check_pairs)]


class ContrastOptions(Frozen):
    """The comparisons that the study is made for, said before it runs; on every data set and backbone."""

    level: float = Field(
        0.05, gt=0, lt=1, description="Chance of any false difference among all contrasts, by Holm's correction."
    )
    equivalence: float | None = Field(
        None,
        gt=0,
        description="A difference within ± this, in units of the metric, is none in practice: tested by two one-sided "
        "tests; null: not tested.",
    )
    domains: Literal["each", "average"] = Field(
        "each",
        description="Where domains are held out: a contrast on each of them, or one on their average within each seed.",
    )
    pairs: Pairs = Field(
        description="Labels of methods, [first, second] each: first minus second.", json_schema_extra={"minItems": 1}
    )
