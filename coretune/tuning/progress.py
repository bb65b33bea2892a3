"""The losses of a training: kept on the device until somebody asks, so that a step never waits for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coretune.tuning.method import LossTerms

TOTAL = "loss"
RECENT = 5
"""Finite losses that are remembered to say how a loss stopped being finite."""


@dataclass(frozen=True)
class Breakdown:
    """Where a loss stopped being finite.

    Attributes:
        step: Zero-based step of the epoch.
        before: The last losses before it, oldest first, at most `RECENT`, also of the epoch before.
        terms: The terms of that step's loss.
    """

    step: int
    before: tuple[float, ...]
    terms: dict[str, float]


class LossLog:
    """Losses and terms of an epoch, counts over the training, and the first loss that was not finite.

    A step appends references, without a tensor operation; whatever reads first waits for the device and fetches what
    has come since. Means are over all of the epoch's numbers at once, so that they do not depend on when that was.
    """

    def __init__(self) -> None:
        self._fresh: dict[str, list[Tensor]] = {}
        self._fresh_counts: dict[str, list[Tensor]] = {}
        self._values: dict[str, list[float]] = {}
        self._counts: dict[str, int] = {}
        self._recent: list[float] = []

    def add(self, loss: LossTerms) -> None:
        """Adds one step."""
        self._fresh.setdefault(TOTAL, []).append(loss.total.detach())
        for name, value in loss.terms.items():
            if name != TOTAL:
                self._fresh.setdefault(name, []).append(value.detach())
        for name, value in loss.counts.items():
            self._fresh_counts.setdefault(name, []).append(value.detach())

    def breakdown(self) -> Breakdown | None:
        """Returns where the epoch's loss stopped being finite, or None. Waits for the device."""
        self._fetch()
        losses = self._values.get(TOTAL, [])
        step = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if step is None:
            return None
        before = [*self._recent, *losses[:step]][-RECENT:]
        terms = {name: values[step] for name, values in self._values.items() if name != TOTAL and len(values) > step}
        return Breakdown(step, tuple(before), terms)

    def recent(self) -> tuple[float, ...]:
        """Returns the last losses, oldest first, at most `RECENT`. Waits for the device."""
        self._fetch()
        return tuple([*self._recent, *self._values.get(TOTAL, [])][-RECENT:])

    def means(self) -> dict[str, float]:
        """Returns the epoch's mean of the loss and of every term. Waits for the device."""
        self._fetch()
        return {name: sum(values) / len(values) for name, values in self._values.items()}

    def counts(self) -> dict[str, int]:
        """Returns the counts so far. Waits for the device."""
        self._fetch()
        return dict(self._counts)

    def new_epoch(self) -> None:
        """Starts a new epoch."""
        self._recent = list(self.recent())
        self._values = {}

    def state(self) -> dict[str, Any]:
        """Returns plain values that `load` restores. Waits for the device."""
        self._fetch()
        values = {name: list(found) for name, found in self._values.items()}
        return {"values": values, "counts": dict(self._counts), "recent": list(self._recent)}

    def load(self, state: dict[str, Any]) -> None:
        """Restores a state."""
        self._fresh, self._fresh_counts = {}, {}
        self._values = {name: list(values) for name, values in state["values"].items()}
        self._counts = dict(state["counts"])
        self._recent = list(state["recent"])

    def _fetch(self) -> None:
        for name, tensors in self._fresh.items():
            self._values.setdefault(name, []).extend(_numbers(tensors))
        for name, tensors in self._fresh_counts.items():
            self._counts[name] = self._counts.get(name, 0) + round(sum(_numbers(tensors)))
        self._fresh, self._fresh_counts = {}, {}


def _numbers(scalars: list[Tensor]) -> list[float]:
    # One transfer for all; to the CPU first, since not every device knows float64.
    numbers: list[float] = torch.stack(scalars).flatten().cpu().double().tolist()
    return numbers
