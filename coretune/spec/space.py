"""Search spaces as a study file writes them: `{log_uniform: [1e-3, 3]}` in place of a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["uniform", "log_uniform", "int", "choice"]
KINDS: tuple[Kind, ...] = ("uniform", "log_uniform", "int", "choice")
Value = bool | int | float | str


@dataclass(frozen=True)
class Space:
    """The set of values that a search may give to one parameter.

    Attributes:
        kind: `uniform` and `log_uniform` (real, both ends included), `int` (both ends included), `choice`.
        low: Lower end; 0 for `choice`.
        high: Upper end; 0 for `choice`.
        options: The values of a `choice`, in order; empty otherwise.
        default: The value of trial 0 and of `search: none`; None takes the parameter's own default.
    """

    kind: Kind
    low: float = 0.0
    high: float = 0.0
    options: tuple[Value, ...] = ()
    default: Value | None = None

    def __post_init__(self) -> None:
        if self.kind == "choice":
            if not self.options:
                raise ValueError("choice needs at least one option, e.g. {choice: [0.01, 0.03, 0.1]}")
            if len(set(map(repr, self.options))) != len(self.options):
                raise ValueError(f"choice has an option twice: {list(self.options)}")
        elif not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self.kind} needs [low, high] with low < high, got [{self.low:g}, {self.high:g}]")
        elif self.kind == "log_uniform" and self.low <= 0:
            raise ValueError(f"log_uniform needs low > 0, got {self.low:g}")
        if self.default is not None and not self.contains(self.default):
            raise ValueError(f"the default {self.default!r} lies outside of {self.describe()}")

    def contains(self, value: Value) -> bool:
        """Returns whether the search could propose this value."""
        if self.kind == "choice":
            return value in self.options
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (self.kind != "int" or value == int(value))

    def describe(self) -> str:
        """Returns the space as a study file writes it, e.g. `log_uniform [0.001, 3]`."""
        if self.kind == "choice":
            return f"choice {list(self.options)}"
        return f"{self.kind} [{self.low:g}, {self.high:g}]"

    def edges(self) -> tuple[Value, ...]:
        """Returns both ends, or every option."""
        if self.kind == "choice":
            return self.options
        if self.kind == "int":
            return int(self.low), int(self.high)
        return self.low, self.high

    def probes(self) -> tuple[Value, ...]:
        """Returns values whose validity speaks for that of all others: the edges, and one that is not round."""
        if self.kind == "choice":
            return self.options
        if self.kind == "int":
            return tuple(dict.fromkeys((int(self.low), int(self.low) + 1, int(self.high))))
        return self.low, self.low + (self.high - self.low) / math.pi, self.high

    def at(self, fraction: float) -> Value:
        """Returns the value at a fraction in [0, 1) of the space: of its length, its logarithm, or its options."""
        if self.kind == "choice":
            return self.options[int(fraction * len(self.options))]
        if self.kind == "int":
            return int(self.low) + int(fraction * (self.high - self.low + 1))
        if self.kind == "log_uniform":
            value = math.exp(math.log(self.low) + fraction * math.log(self.high / self.low))
        else:
            value = self.low + fraction * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def to_dict(self) -> dict[str, Any]:
        """Returns the mapping of a study file, which `parse_space` reads back."""
        if self.kind == "choice":
            found: dict[str, Any] = {"choice": list(self.options)}
        else:
            found = {self.kind: list(self.edges())}
        return found if self.default is None else {**found, "default": self.default}


def is_space(raw: object) -> bool:
    """Returns whether a study file's value means a space: a mapping that names a kind of space."""
    return isinstance(raw, Mapping) and any(kind in raw for kind in KINDS)


def parse_space(raw: Mapping[str, Any]) -> Space:
    """Reads `{log_uniform: [low, high], default: value}`.

    Raises:
        ValueError: Not exactly one kind, an unknown key, or bounds that are no numbers in order.
    """
    kinds = [kind for kind in KINDS if kind in raw]
    unknown = sorted(set(raw) - set(KINDS) - {"default"})
    if len(kinds) != 1 or unknown:
        raise ValueError(
            f"a search space has one of {', '.join(KINDS)} and perhaps default, got {sorted(map(str, raw))}"
        )
    (kind,), bounds = kinds, raw[kinds[0]]
    if not isinstance(bounds, list | tuple) or any(isinstance(item, list | dict) or item is None for item in bounds):
        raise ValueError(f"{kind} needs a list of plain values, got {bounds!r}")
    if kind == "choice":
        return Space(kind, options=tuple(bounds), default=raw.get("default"))
    if len(bounds) != 2 or any(isinstance(item, bool) or not isinstance(item, int | float) for item in bounds):
        raise ValueError(f"{kind} needs two numbers, [low, high], got {list(bounds)}")
    try:
        low, high = map(float, bounds)
    except OverflowError:
        raise ValueError(f"{kind} needs two numbers that a float can hold") from None
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise ValueError(f"int needs whole numbers, got {list(bounds)}")
    return Space(kind, low=low, high=high, default=raw.get("default"))
