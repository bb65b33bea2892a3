"""Core-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class MixtureParameters(Frozen):
    """Core-tuning's mixtures without its contrast."""

    alpha: float = Field(1.0, gt=0, description="Mixup α: both mixing weights are drawn from Beta(α, α).")
    negative_floor: float = Field(
        0.8, ge=0, le=1, description="Hard negatives: the other sample's weight is max(draw, this floor)."
    )
    positive_floor: float = Field(
        0.0, ge=0, le=1, description="Hard positives: the hardest positive's weight is max(draw, this floor)."
    )
    mining: Literal["hard", "random"] = Field(
        "hard",
        description="Whose features make a hard positive: the hardest ones of the batch, or ones drawn at random.",
    )
    pairs: Literal["any", "cross_domain", "within_domain"] = Field(
        "any",
        description="In which domains a sample's partners are looked for: in all, in the others than its own, or in "
        "its own; where none of the right class is there, in all. For data with domains, but for `any`.",
    )
    classifier_bias: bool = Field(True, description="Whether the linear classifier has a bias.")
    detach_originals: bool = Field(
        False, description="Whether originals teach the heads only: the backbone then learns from mixtures alone."
    )

    @property
    def needs_domains(self) -> bool:
        """Whether the data have to have domains."""
        return self.pairs != "any"


class CoreTuningParameters(MixtureParameters):
    """Core-tuning as the paper states it (arXiv 2102.06605, sections 3.2 to 3.4)."""

    eta: float = Field(0.1, ge=0, description="Contrast weight η of L_ce^m + η L_con^f; 0 leaves CE on the mixtures.")
    temperature: float = Field(0.07, gt=0, description="Temperature τ of the contrastive softmax.")
    gamma: float = Field(1.0, ge=0, description="Focal exponent γ on (1 − p); the paper has 1, and 0 is SupCon.")
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
    smooth_classifier: bool = Field(
        True, description="Whether the classifier is trained on the mixtures too; false: on the originals alone."
    )
    contrast_mixtures: bool = Field(
        True, description="Whether an anchor also contrasts with mixtures; false: with originals alone."
    )


class DenseCoreTuningParameters(CoreTuningParameters):
    """Core-tuning of pixels."""

    @field_validator("classifier_bias")
    @classmethod
    def _of_the_head(cls, value: bool) -> bool:
        if not value:
            raise ValueError("segmentation heads have a bias; leave it out")
        return value

    @field_validator("pairs")
    @classmethod
    def _without_domains(cls, value: str) -> str:
        if value != "any":
            raise ValueError("images with masks have no domains; leave it out")
        return value


class CoreTuningReleasedParameters(Frozen):
    """Core-tuning as the authors' released script computes it."""

    eta: float = Field(
        10.0, ge=0, description="Contrast weight η; 30 to 180 times that of the paper's form for the same gradient."
    )
    temperature: float = Field(0.07, gt=0, description="Temperature τ of the contrastive softmax.")
    alpha: float = Field(1.0, gt=0, description="Mixup α: both mixing weights are drawn from Beta(α, α).")
    grouping: Literal["exact", "released_code"] = Field(
        "exact", description="Which soft labels are alike: equal ones, or those with equal codes in the script."
    )
    detach_originals: bool = Field(
        True, description="Whether originals teach the heads only: the backbone then learns from mixtures alone."
    )
    projection_dim: int = Field(256, ge=2, description="Width of the projection head's output (unit vectors).")
    projection_hidden: int | None = Field(
        None, ge=1, description="Width of the projection head's hidden layer; null takes the feature width."
    )
    classifier_bias: bool = Field(False, description="Whether the linear classifier has a bias.")
    batch_norm_momentum: float | None = Field(
        0.19, gt=0, le=1, description="Momentum of the backbone's batch norm; null leaves it as it is."
    )
    smooth_classifier: bool = Field(
        True, description="Whether the classifier is trained on the mixtures too; false: on the originals alone."
    )


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="core_tuning",
        version=1,
        target="coretune.tuning.methods.core_tuning:CoreTuning",
        summary="Core-tuning: focal contrast with hard pairs made by mixup, and a smooth classifier",
        source="Zhang, Hooi, Hu, Liang, Feng, NeurIPS 2021, arXiv 2102.06605",
        parameters=CoreTuningParameters,
        dense="coretune.segment.methods:DenseCoreTuning",
        dense_parameters=DenseCoreTuningParameters,
        samples=True,
        space={
            "eta": Space("log_uniform", 1e-3, 3.0, also=(0.0,)),
            "temperature": Space("log_uniform", 0.03, 0.5),
            "alpha": Space("log_uniform", 0.1, 4.0),
        },
    ),
    Component(
        kind="method",
        name="core_tuning_released",
        version=1,
        target="coretune.tuning.methods.core_tuning_released:CoreTuningReleased",
        summary="Core-tuning as the authors' released script computes it, which differs from their paper",
        source="Core-tuning.py of github.com/Vanint/Core-tuning (arXiv 2102.06605)",
        parameters=CoreTuningReleasedParameters,
        space={
            "eta": Space("log_uniform", 1e-2, 1e2, also=(0.0,)),
            "temperature": Space("log_uniform", 0.03, 0.5),
            "alpha": Space("log_uniform", 0.1, 4.0),
        },
    ),
    Component(
        kind="method",
        name="mixture_ce",
        version=1,
        target="coretune.tuning.methods.mixture_ce:MixtureCE",
        summary="Cross-entropy on Core-tuning's mixtures without its contrast (η = 0): the control for the contrast",
        source="L_ce^m of arXiv 2102.06605, section 3.4",
        parameters=MixtureParameters,
        space={"alpha": Space("log_uniform", 0.1, 4.0)},
    ),
]
