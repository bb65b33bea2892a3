"""What the search of a study optimises."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from coretune.spec.frozen import Frozen
from coretune.spec.segmentation import MIOU
from coretune.spec.validation_attack import ROBUST, ValidationAttack
from coretune.spec.wording import shown

Metric = Literal["top1", "mean_per_class", "cross_entropy", "robust_top1", "miou"]
Direction = Literal["max", "min"]
_TWO = {
    "type": "array",
    "items": {"enum": [metric for metric in get_args(Metric) if metric != MIOU]},
    "minItems": 2,
    "maxItems": 2,
    "uniqueItems": True,
}


def check_two(value: Any) -> Any:
    """Returns the metrics of a front.

    Raises:
        ValueError: They are not two, or the same twice.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"must be one metric, or two for a front, [top1, robust_top1]; got {shown(value)}")
    if MIOU in value:
        raise ValueError(f"a front is of metrics of images; {MIOU} stands alone")
    if value[0] == value[1]:
        raise ValueError(f"a front is of two different metrics, got {shown(value)}")
    return value


def own_direction(metric: str) -> Direction:
    """Returns whether larger (max) or smaller (min) values of a metric are better."""
    return "min" if metric == "cross_entropy" else "max"


class Objective(Frozen):
    """What the search optimises, on the validation part: one metric, or the front of two."""

    metric: Annotated[
        Annotated[Metric, Tag("one")]
        | Annotated[tuple[Metric, Metric], BeforeValidator(check_two), WithJsonSchema(_TWO), Tag("two")],
        Discriminator(lambda value: "one" if isinstance(value, str) else "two"),
    ] = Field(
        "top1",
        description="Metric, or two of them, [top1, robust_top1]; robust_top1 is the accuracy under `attack`; miou is "
        "for data sets with a class per pixel, and the only one there. Of two, "
        "final runs are made of three configurations: the best by each, and the knee of their front.",
    )
    direction: Direction | None = Field(
        None, description="max or min; null takes the metric's own, as two metrics always do."
    )
    attack: ValidationAttack | None = Field(
        None,
        description="Attack of robust_top1, the same for all methods, however they are trained; null: that on the "
        "validation part of the study's `adversary`.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.attack is not None and ROBUST not in self.metrics:
            raise ValueError(f"attack: it is made for metric: {ROBUST}; got {', '.join(self.metrics)}")
        if self.direction is not None and len(self.metrics) > 1:
            raise ValueError(f"direction: two metrics have each their own; leave {self.direction} out")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics: one, or two whose front is wanted."""
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Whether larger (max) or smaller (min) values are better, of each metric."""
        if self.direction is not None:
            return (self.direction,)
        return tuple(map(own_direction, self.metrics))
