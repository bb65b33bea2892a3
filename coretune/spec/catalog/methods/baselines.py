"""What every method is compared with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coretune.spec.components import Component, NoParameters
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class LpFtParameters(Frozen):
    """Linear probing, then fine-tuning (arXiv 2202.10054, section 3.4)."""

    probe: float = Field(
        0.5, gt=0, lt=1, description="Fraction of the training in which the classifier is trained alone."
    )
    batch_norm: Literal["batch", "pretrained"] = Field(
        "batch",
        description="Statistics of batch norm while everything is trained: the pre-trained ones, for good, or the "
        "batch's.",
    )


class LabelSmoothingParameters(Frozen):
    """Label smoothing (arXiv 1512.00567, section 7)."""

    smoothing: float = Field(
        0.1, ge=0, lt=1, description="Share ε of the label that is spread evenly over all classes; 0 is CE-tuning."
    )


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="ce",
        version=1,
        target="coretune.tuning.methods.cross_entropy:CrossEntropy",
        summary="CE-tuning: cross-entropy of a linear classifier on the backbone's features",
        source="the baseline of arXiv 2102.06605",
        parameters=NoParameters,
        dense="coretune.segment.methods:DenseCrossEntropy",
    ),
    Component(
        kind="method",
        name="linear_probe",
        version=1,
        target="coretune.tuning.methods.linear_probe:LinearProbe",
        summary="Linear probe: cross-entropy of a linear classifier on the resting backbone's features",
        source="the linear evaluation of MoCo, arXiv 1911.05722, section 4.1",
        parameters=NoParameters,
        # What suits the backbone is far too slow for a classifier on features that do not move.
        train={"head_lr": 10.0},
    ),
    Component(
        kind="method",
        name="lp_ft",
        version=1,
        target="coretune.tuning.methods.lp_ft:LpFt",
        summary="LP-FT: first the classifier alone, then everything",
        source="Kumar, Raghunathan, Jones, Ma, Liang, ICLR 2022, arXiv 2202.10054",
        parameters=LpFtParameters,
        # Batch norm that rests diverges at learning rates that suit the batch's statistics, so the search may choose.
        space={
            "probe": Space("uniform", 0.1, 0.9),
            "batch_norm": Space("choice", options=("batch", "pretrained")),
        },
    ),
    Component(
        kind="method",
        name="label_smoothing",
        version=1,
        target="coretune.tuning.methods.label_smoothing:LabelSmoothing",
        summary="CE-tuning with smoothed labels",
        source="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, CVPR 2016, arXiv 1512.00567, section 7",
        parameters=LabelSmoothingParameters,
        space={"smoothing": Space("uniform", 0.0, 0.4)},
    ),
]
