"""Says why a loss probably stopped being finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from coretune.spec.run import TrainSpec

GROWTH = 3.0


def likely_cause(before: Sequence[float], terms: Mapping[str, float], train: TrainSpec) -> str:
    """Returns the likely cause of a loss that is not finite, with the remedy.

    Args:
        before: The last losses before it, oldest first; empty at the first step of a training.
        terms: The terms of the loss that is not finite; the one that broke is named.
        train: The recipe.
    """
    rate = f"train.lr = {train.lr:g}"
    if len(before) >= 2 and before[-1] > GROWTH * max(abs(before[0]), 1e-6):
        grown = f"the loss grew from {before[0]:.3g} to {before[-1]:.3g} in {len(before) - 1} steps"
        return f"{grown}: {rate} is probably too high"
    if train.precision == "fp16":
        return "fp16 probably overflowed: try train.precision = bf16"
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    named = f"the term {broken[0]} broke; " if len(broken) == 1 else ""
    if not before:
        return (
            f"{named}it is the first step, before any update: a parameter of the method is extreme, "
            "or the initial weights are not finite"
        )
    return (
        f"{named}it was {before[-1]:.3g} the step before: {rate} is probably too high, "
        "or a parameter of the method is extreme"
    )
