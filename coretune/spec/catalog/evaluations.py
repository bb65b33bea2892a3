"""Evaluations of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.spec.components import Component, EvaluationComponent
from coretune.spec.epsilon import Norm, canonical_grid
from coretune.spec.frozen import Frozen


class GeometryParameters(Frozen):
    """The pool that the geometry of features is measured on."""

    per_class: int = Field(
        50, ge=2, le=10_000, description="Images per class of the pool, or those of the smallest class if it has fewer."
    )
    temperature: float = Field(0.07, gt=0, le=100, description="Temperature τ of the contrastive loss that is split.")


class NeighbourParameters(Frozen):
    """The weighted nearest-neighbour classifier (arXiv 1805.01978)."""

    k: int = Field(200, ge=1, le=10_000, description="Nearest labelled images that vote; all, where there are fewer.")
    temperature: float = Field(0.07, gt=0, le=100, description="Temperature τ of a vote's weight, exp(similarity / τ).")
    bank: int = Field(
        20_000, ge=1, le=1_000_000, description="Most labelled images that are asked; of more, a sample by the seed."
    )


class CalibrationParameters(Frozen):
    """The bins of the expected calibration error."""

    bins: int = Field(15, ge=1, le=1000, description="Bins of the confidence, from 0 to 1.")
    binning: Literal["equal_width", "equal_mass"] = Field(
        "equal_width",
        description="Bins of equal width, as is usual, or of (nearly) equally many images (adaptive ECE).",
    )


CorruptionName = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
]
ALL_CORRUPTIONS: tuple[CorruptionName, ...] = get_args(CorruptionName)


class CorruptionParameters(Frozen):
    """Which of the common corruptions."""

    corruptions: tuple[CorruptionName, ...] = Field(
        ALL_CORRUPTIONS, min_length=1, description="Which ones; all fifteen make the corruption error."
    )
    severities: tuple[Literal[1, 2, 3, 4, 5], ...] = Field(
        (1, 2, 3, 4, 5), min_length=1, description="How severe, 1 to 5."
    )

    @field_validator("corruptions", "severities")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = [item for item in dict.fromkeys(value) if value.count(item) > 1]
        if twice:
            raise ValueError(f"{twice[0]} stands twice")
        return value


class TransferParameters(Frozen):
    """Which model adversarial images are made on, and how."""

    surrogate: str = Field(
        "",
        pattern=r"^(|run:[0-9a-f]{16}/(last|best)|sha256:[0-9a-f]{64})$",
        description="The other model, `run:<id>/<weights>` or `sha256:<hash of a file>`.",
    )
    norm: Norm = Field("linf", description="Norm of perturbations.")
    eps: str | int | float = Field("1/255", description="Size of perturbations, `8/255` or `0.03`.")
    steps: int = Field(20, ge=1, le=100_000, description="Gradient steps on the other model.")

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "eps" not in value:
            return value
        sizes = canonical_grid([value["eps"]], "l2" if value.get("norm") == "l2" else "linf")
        if not sizes:
            raise ValueError("eps needs a size above 0; 0 is the clean accuracy, which is measured anyway")
        return {**value, "eps": sizes[0]}


class SegmentationParameters(Frozen):
    """What a segmentation model sees of an image."""

    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field(
        (1.0,), min_length=1, description="Sizes relative to the image's own, whose probabilities are averaged."
    )
    flip: bool = Field(False, description="Whether the mirrored image is averaged, too.")

    @field_validator("scales")
    @classmethod
    def _once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a scale stands twice")
        return value


COMPONENTS: list[Component] = [
    Component(
        kind="evaluation",
        name="classification",
        version=1,
        target="coretune.tuning.classification:evaluate_classification",
        summary="top-1, mean per-class accuracy (per cent), and cross-entropy (nats)",
    ),
    EvaluationComponent(
        kind="evaluation",
        name="segmentation",
        version=1,
        target="coretune.segment.evaluation:evaluate_segmentation",
        summary="mean and per-class intersection over union and pixel accuracy (per cent), on whole images",
        source="Long, Shelhamer, Darrell, CVPR 2015, section 5",
        parameters=SegmentationParameters,
        labels="pixel",
    ),
    Component(
        kind="evaluation",
        name="geometry",
        version=1,
        target="coretune.tuning.diagnostics.evaluation:evaluate_geometry",
        summary="scatter, effective rank, neural collapse, alignment and uniformity, and the split contrastive loss",
        source="see docs/diagnostics.md",
        parameters=GeometryParameters,
    ),
    EvaluationComponent(
        kind="evaluation",
        name="knn",
        version=1,
        target="coretune.tuning.neighbours:evaluate_neighbours",
        summary="top-1 (per cent) of the weighted nearest-neighbour classifier in the backbone's features",
        source="Wu, Xiong, Yu, Lin, CVPR 2018, arXiv 1805.01978, section 3.4",
        parameters=NeighbourParameters,
        labelled=True,
    ),
    EvaluationComponent(
        kind="evaluation",
        name="calibration",
        version=1,
        target="coretune.robust.calibration:evaluate_calibration",
        summary="calibration error, Brier score and likelihood, raw and with a temperature of the validation part",
        source="Guo, Pleiss, Sun, Weinberger, ICML 2017, arXiv 1706.04599, sections 2 and 4",
        parameters=CalibrationParameters,
        validation=True,
        precision="fp32",
    ),
    EvaluationComponent(
        kind="evaluation",
        name="corruptions",
        version=1,
        target="coretune.robust.corruption_error:evaluate_corruptions",
        summary="error (per cent) on images with the fifteen common corruptions of ImageNet-C at five severities",
        source="Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261; frost is not theirs, see docs/robustness.md",
        parameters=CorruptionParameters,
        tells=True,
    ),
    EvaluationComponent(
        kind="evaluation",
        name="attack",
        version=1,
        target="coretune.robust.evaluation:evaluate_attack",
        summary="top-1 (per cent) under the worst of several attacks on each image, and the median perturbation",
        source="see docs/robustness.md",
        parameters=AttackParameters,
        precision="fp32",
        rows=True,
        resumes=True,
        tells=True,
    ),
    EvaluationComponent(
        kind="evaluation",
        name="transfer",
        version=1,
        target="coretune.robust.transfer:evaluate_transfer",
        summary="top-1 (per cent) on images made on another model; of `coretune robust eval`, not of a study",
        source="Papernot, McDaniel, Goodfellow, arXiv 1605.07277; see docs/robustness.md",
        parameters=TransferParameters,
        precision="fp32",
        surrogate=True,
        tells=True,
    ),
]
