"""Methods that hold the weights or the features near something, or begin a part of them anew."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class L2SPParameters(Frozen):
    """L2-SP (arXiv 1802.01483)."""

    alpha: float = Field(0.01, ge=0, description="Weight α of α/2 ‖w − w⁰‖² over the backbone.")
    beta: float = Field(0.01, ge=0, description="Weight β of β/2 ‖w_head‖² over the classifier.")
    penalised: Literal["all", "weights"] = Field(
        "all", description="Which parameters count: all, or not those of norm layers and biases."
    )


class DeltaParameters(Frozen):
    """DELTA (arXiv 1901.09229)."""

    alpha: float = Field(
        0.01,
        ge=0,
        description="Weight α of the squared distance of feature maps, a mean over the batch; the α of a code that "
        "adds the sum over a batch to a mean cross-entropy, times that batch.",
    )
    beta: float = Field(0.01, ge=0, description="Weight β of β/2 ‖w_head‖² over the classifier.")
    layers: int = Field(4, ge=1, description="Number of stages, counted from the output, whose last maps are compared.")
    weighting: Literal["none", "ablation", "ablation_released"] = Field(
        "none",
        description="Weights of the channels: all equal; ablation, the paper's: by how much the loss of a linear "
        "classifier on the frozen net rises without a channel; ablation_released, the same as the authors' script "
        "scales it. Costs a forward pass of the upper layers per channel, once, before the first step.",
    )
    ablation_images: int = Field(
        256, ge=1, description="Labelled images by which channels are weighted; as the script: 4 batches of 64."
    )


class BSSParameters(Frozen):
    """Batch spectral shrinkage (NeurIPS 2019)."""

    eta: float = Field(1e-3, ge=0, description="Weight η of the smallest squared singular values.")
    k: int = Field(1, ge=1, description="How many singular values are suppressed.")


class RifleParameters(Frozen):
    """RIFLE (arXiv 2007.03349)."""

    periods: int = Field(2, ge=1, description="Number of periods; the classifier is begun anew between them.")


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="l2_sp",
        version=1,
        target="coretune.tuning.methods.l2_sp:L2SP",
        summary="L2-SP: CE-tuning with weights held near those that it starts from",
        source="Li, Grandvalet, Davoine, ICML 2018, arXiv 1802.01483",
        parameters=L2SPParameters,
        space={"alpha": Space("log_uniform", 1e-4, 1.0)},
        train={"weight_decay": 0.0},
    ),
    Component(
        kind="method",
        name="delta",
        version=1,
        target="coretune.tuning.methods.delta:Delta",
        summary="DELTA, attention optional: CE-tuning with feature maps held near those of the pre-trained backbone",
        source="Li, Xiong, Wang, Rao, Liu, Chen, Huan, ICLR 2019, arXiv 1901.09229",
        parameters=DeltaParameters,
        space={"alpha": Space("log_uniform", 1e-5, 1.0)},
        train={"weight_decay": 0.0},
    ),
    Component(
        kind="method",
        name="bss",
        version=1,
        target="coretune.tuning.methods.bss:BatchSpectralShrinkage",
        summary="BSS: CE-tuning that suppresses the smallest singular values of the features",
        source="Chen, Wang, Fu, Long, Wang, Batch Spectral Shrinkage for Safe Transfer Learning, NeurIPS 2019",
        parameters=BSSParameters,
        space={"eta": Space("log_uniform", 1e-5, 0.1)},
    ),
    Component(
        kind="method",
        name="rifle",
        version=1,
        target="coretune.tuning.methods.rifle:Rifle",
        summary="RIFLE: CE-tuning with a classifier that is begun anew between periods",
        source="Li, Xiong, An, Xu, Dou, ICML 2020, arXiv 2007.03349",
        parameters=RifleParameters,
        space={"periods": Space("int", 2, 4)},
    ),
]
