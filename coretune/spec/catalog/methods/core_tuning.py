"""Core-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class CoreTuningParameters(Frozen):
    """Core-tuning as the paper states it (arXiv 2102.06605, sections 3.2 to 3.4)."""

    eta: float = Field(0.1, ge=0, description="Contrast weight η of L_ce^m + η L_con^f; 0 leaves CE on the mixtures.")
    temperature: float = Field(0.07, gt=0, description="Temperature τ of the contrastive softmax.")
    alpha: float = Field(1.0, gt=0, description="Mixup α: both mixing weights are drawn from Beta(α, α).")
    gamma: float = Field(1.0, ge=0, description="Focal exponent γ on (1 − p); the paper has 1, and 0 is SupCon.")
    negative_floor: float = Field(
        0.8, ge=0, le=1, description="Hard negatives: the other sample's weight is max(draw, this floor)."
    )
    positive_floor: float = Field(
        0.0, ge=0, le=1, description="Hard positives: the hardest positive's weight is max(draw, this floor)."
    )
    positive_weight: Literal["one", "lambda"] = Field(
        "one", description="How much a hard positive counts among an anchor's positives: 1, or its mixing weight."
    )
    scope: Literal["own", "other_class", "all"] = Field(
        "own",
        description="Which mixtures an anchor sees: its own, also those of anchors of other classes, or all.",
    )
    projection_dim: int = Field(256, ge=2, description="Width of the projection head's output (unit vectors).")
    projection_hidden: int | None = Field(
        None, ge=1, description="Width of the projection head's hidden layer; null takes the feature width."
    )
    classifier_bias: bool = Field(True, description="Whether the linear classifier has a bias.")


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="core_tuning",
        version=1,
        target="coretune.tuning.methods.core_tuning:CoreTuning",
        summary="Core-tuning: focal contrast with hard pairs made by mixup, and a smooth classifier",
        source="Zhang, Hooi, Hu, Liang, Feng, NeurIPS 2021, arXiv 2102.06605",
        parameters=CoreTuningParameters,
        space={
            "eta": Space("log_uniform", 1e-3, 3.0),
            "temperature": Space("log_uniform", 0.03, 0.5),
            "alpha": Space("log_uniform", 0.1, 4.0),
        },
    ),
]
