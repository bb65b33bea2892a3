"""Methods that mix images or features."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class InputMixupParameters(Frozen):
    """Mixup of images (arXiv 1710.09412, section 2)."""

    alpha: float = Field(1.0, gt=0, description="Mixup α: the mixing weight is drawn from Beta(α, α).")


class CutMixParameters(Frozen):
    """CutMix (arXiv 1905.04899, section 3.1)."""

    alpha: float = Field(1.0, gt=0, description="CutMix α: the share of the image that stays is drawn from Beta(α, α).")
    probability: float = Field(1.0, ge=0, le=1, description="Probability that a contrast batch is cut at all.")


class ManifoldMixupParameters(Frozen):
    """Mixup of features (arXiv 1806.05236, section 2)."""

    alpha: float = Field(2.0, gt=0, description="Mixup α: the mixing weight is drawn from Beta(α, α).")
    originals: bool = Field(
        False, description="Whether the loss is the mean over originals and mixtures, in place of the mixtures alone."
    )


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="input_mixup",
        version=1,
        target="coretune.tuning.methods.input_mixup:InputMixup",
        summary="CE-tuning on mixed images with mixed labels",
        source="Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018, arXiv 1710.09412",
        parameters=InputMixupParameters,
        # From hardly any mixing, which is CE-tuning, to the largest α that the paper takes for clean labels.
        space={"alpha": Space("log_uniform", 0.01, 1.0)},
    ),
    Component(
        kind="method",
        name="cutmix",
        version=1,
        target="coretune.tuning.methods.cutmix:CutMix",
        summary="CE-tuning on images with a rectangle of another, and mixed labels",
        source="Yun, Han, Oh, Chun, Choe, Yoo, ICCV 2019, arXiv 1905.04899",
        parameters=CutMixParameters,
        # The range that the paper tries (figure 3).
        space={"alpha": Space("log_uniform", 0.1, 4.0)},
    ),
    Component(
        kind="method",
        name="manifold_mixup",
        version=1,
        target="coretune.tuning.methods.manifold_mixup:ManifoldMixup",
        summary="CE-tuning on mixed features with mixed labels",
        source="Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz, Bengio, ICML 2019, arXiv 1806.05236",
        parameters=ManifoldMixupParameters,
        space={"alpha": Space("log_uniform", 0.1, 4.0)},
    ),
]
