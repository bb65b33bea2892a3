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


class CoinParameters(SclParameters):
    """COIN (arXiv 2208.00238): supervised contrast alone, then beside cross-entropy."""

    eta: float = Field(0.1, ge=0, description="Contrast weight η of L_ce + η L_con in the second stage.")
    temperature: float = Field(0.3, gt=0, description="Temperature τ of the contrastive softmax, in both stages.")
    first_stage: float = Field(
        0.7, ge=0, lt=1, description="Fraction of the training with the contrast alone; the classifier rests in it."
    )


class BiTuningParameters(Frozen):
    """Bi-tuning (arXiv 2011.06182)."""

    eta: float = Field(1.0, ge=0, description="Weight η of both contrastive losses; the paper has 1.")
    temperature: float = Field(0.07, gt=0, description="Temperature τ of both contrastive softmaxes.")
    momentum: float = Field(0.999, ge=0, lt=1, description="Momentum m of the key encoder and its projection head.")
    queue: int = Field(40, ge=1, description="Number K of keys kept of each class.")
    projection_dim: int = Field(128, ge=2, description="Width of the projection head's output (unit vectors).")
    projection_hidden: int | None = Field(
        None, ge=1, description="Width of the projection head's hidden layer; null takes the feature width."
    )


class MixAndMatchParameters(Frozen):
    """Mix-and-match tuning (arXiv 1712.00661), adapted to classification."""

    margin: float = Field(
        2.1,
        gt=0,
        le=4,
        description="Margin of the triplet loss in squared distance of unit vectors, which is at most 4.",
    )
    first_stage: float = Field(
        0.16, ge=0, lt=1, description="Fraction of the training with the triplet loss alone; then cross-entropy alone."
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
    Component(
        kind="method",
        name="bi_tuning",
        version=1,
        target="coretune.tuning.methods.bi_tuning:BiTuning",
        summary="Bi-tuning: cross-entropy and two contrasts with keys of a momentum encoder, by class",
        source="Zhong, Ma, Wang, Kou, Long, ECML PKDD 2023, arXiv 2011.06182",
        parameters=BiTuningParameters,
        space={
            "eta": Space("log_uniform", 1e-2, 10.0),
            "temperature": Space("log_uniform", 0.03, 0.5),
            "momentum": Space("choice", options=(0.9, 0.99, 0.999)),
        },
    ),
    Component(
        kind="method",
        name="m_and_m",
        version=1,
        target="coretune.tuning.methods.m_and_m:MixAndMatch",
        summary="M&M tuning, adapted to classification: triplet loss alone, then cross-entropy alone",
        source="Zhan, Liu, Luo, Tang, Loy, AAAI 2018, arXiv 1712.00661; the adaptation is ours",
        parameters=MixAndMatchParameters,
        space={"margin": Space("uniform", 0.1, 4.0), "first_stage": Space("uniform", 0.05, 0.7)},
    ),
    Component(
        kind="method",
        name="coin",
        version=1,
        target="coretune.tuning.methods.coin:ContrastiveInitialization",
        summary="COIN: supervised contrast alone, then beside cross-entropy",
        source="Pan, Guo, Deng, Yang, Chen, Chen, Neural Networks 2023, arXiv 2208.00238",
        parameters=CoinParameters,
        space={
            "eta": Space("log_uniform", 1e-3, 10.0),
            "temperature": Space("log_uniform", 0.03, 0.5),
            "first_stage": Space("uniform", 0.05, 0.9),
        },
    ),
]
