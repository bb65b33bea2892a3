"""Methods with a contrastive term."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class SclParameters(Frozen):
    """Supervised contrast beside cross-entropy (arXiv 2011.01403), weighted as in Core-tuning's comparison."""

    eta: float = Field(
        0.1, ge=0, description="Contrast weight η of L_ce + η L_con; (1 − λ) L_ce + λ L_con has η = λ / (1 − λ)."
    )
    temperature: float = Field(0.07, gt=0, description="Temperature τ of the contrastive softmax.")
    projection_dim: int = Field(256, ge=2, description="Width of the projection head's output (unit vectors).")
    projection_hidden: int | None = Field(
        None, ge=1, description="Width of the projection head's hidden layer; null takes the feature width."
    )


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="scl",
        version=1,
        target="coretune.tuning.methods.scl:SupervisedContrast",
        summary="SCL: cross-entropy and supervised contrast of projected features",
        source="Gunel, Du, Conneau, Stoyanov, ICLR 2021, arXiv 2011.01403",
        parameters=SclParameters,
        space={"eta": Space("log_uniform", 1e-3, 10.0), "temperature": Space("log_uniform", 0.03, 0.5)},
    ),
]
