"""What the search of a study optimises."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from coretune.spec.frozen import Frozen
from coretune.spec.validation_attack import ROBUST, ValidationAttack

Metric = Literal["top1", "mean_per_class", "cross_entropy", "robust_top1"]
Direction = Literal["max", "min"]


def own_direction(metric: str) -> Direction:
    """Returns whether larger (max) or smaller (min) values of a metric are better."""
    return "min" if metric == "cross_entropy" else "max"


class Objective(Frozen):
    """What the search optimises, on the validation part."""

    metric: Metric = Field("top1", description="Metric; robust_top1 is the accuracy under `attack`.")
    direction: Direction | None = Field(None, description="max or min; null takes the metric's own.")
    attack: ValidationAttack | None = Field(
        None,
        description="Attack of robust_top1, the same for all methods, however they are trained; null: that on the "
        "validation part of the study's `adversary`.",
    )

    @model_validator(mode="after")
    def _attack_fits(self) -> Self:
        if self.attack is not None and self.metric != ROBUST:
            raise ValueError(f"attack: it is made for metric: {ROBUST}; got {self.metric}")
        return self
