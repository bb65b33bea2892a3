"""Search spaces as a study file writes them: `{log_uniform: [1e-3, 3]}` in place of a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
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
        also: Values beside the range that are always tried, each in a trial of its own after trial 0, with everything
            else at its default; e.g. 0 beside a logarithmic range. The sampler takes each for the nearest end.
    """

    kind: Kind
    low: float = 0.0
    high: float = 0.0
    options: tuple[Value, ...] = ()
    default: Value | None = None
    also: tuple[int | float, ...] = ()

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
        self._check_also()
        if self.default is not None and not self.contains(self.default):
            raise ValueError(f"the default {self.default!r} lies outside of {self.describe()}")

    def contains(self, value: Value) -> bool:
        """Returns whether the search could propose this value."""
        if self.kind == "choice":
            return value in self.options
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if value in self.also:
            return True
        return self.low <= value <= self.high and (self.kind != "int" or value == int(value))

    def describe(self) -> str:
        """Returns the space as a study file writes it, e.g. `log_uniform [0.001, 3]`."""
        if self.kind == "choice":
            return f"choice {list(self.options)}"
        beside = "".join(f" or {value:g}" for value in self.also)
        return f"{self.kind} [{self.low:g}, {self.high:g}]{beside}"

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
            return tuple(dict.fromkeys((int(self.low), int(self.low) + 1, int(self.high), *self.also)))
        return self.low, self.low + (self.high - self.low) / math.pi, self.high, *self.also

    def nearest(self, value: Value) -> Value:
        """Returns the value of the range that stands for a value beside it; any other value itself."""
        if self.kind == "choice" or isinstance(value, bool | str):
            return value
        low, high = (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)
        return min(max(value, low), high)

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
        if self.also:
            found["also"] = list(self.also)
        return found if self.default is None else {**found, "default": self.default}

    def _check_also(self) -> None:
        if self.kind == "choice" and self.also:
            raise ValueError("also is for ranges; write the value among the options of choice")
        for value in self.also:
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or (self.kind == "int" and value != int(value)) or self.low <= value <= self.high:
                kind = "whole number" if self.kind == "int" else "number"
                raise ValueError(f"also has a {kind} outside of [{self.low:g}, {self.high:g}], got {value!r}")


def is_space(raw: object) -> bool:
    """Returns whether a study file's value means a space: a mapping that names a kind of space."""
    return isinstance(raw, Mapping) and any(kind in raw for kind in KINDS)


def misspelt_space(raw: object) -> str | None:
    """Returns the kind of space that a mapping like `{log_unifrm: [1e-3, 1]}` most likely means, or None."""
    if not isinstance(raw, Mapping) or is_space(raw):
        return None
    words = [str(key) for key in raw if key not in ("default", "also")]
    close = get_close_matches(words[0], KINDS, n=1, cutoff=0.7) if len(words) == 1 else []
    return close[0] if close else None


def parse_space(raw: Mapping[str, Any]) -> Space:
    """Reads `{log_uniform: [low, high], default: value, also: [0]}`.

    Raises:
        ValueError: Not exactly one kind, an unknown key, or bounds that are no numbers in order.
    """
    kinds = [kind for kind in KINDS if kind in raw]
    unknown = sorted(set(raw) - set(KINDS) - {"default", "also"})
    if len(kinds) != 1 or unknown:
        raise ValueError(
            f"a search space has one of {', '.join(KINDS)} and perhaps default and also, got {sorted(map(str, raw))}"
        )
    (kind,), bounds = kinds, raw[kinds[0]]
    if not isinstance(bounds, list | tuple) or any(isinstance(item, list | dict) or item is None for item in bounds):
        raise ValueError(f"{kind} needs a list of plain values, got {bounds!r}")
    also = raw.get("also") or ()
    if not isinstance(also, list | tuple):
        raise ValueError(f"also must be a list of numbers, got {also!r}")
    if kind == "choice":
        return Space(kind, options=tuple(bounds), default=raw.get("default"), also=tuple(also))
    if len(bounds) != 2 or any(isinstance(item, bool) or not isinstance(item, int | float) for item in bounds):
        raise ValueError(f"{kind} needs two numbers, [low, high], got {list(bounds)}")
    try:
        low, high = map(float, bounds)
    except OverflowError:
        raise ValueError(f"{kind} needs two numbers that a float can hold") from None
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise ValueError(f"int needs whole numbers, got {list(bounds)}")
    return Space(kind, low=low, high=high, default=raw.get("default"), also=tuple(also))
