"""Methods that use the pre-trained features or adapt them."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class DRTuneParameters(Frozen):
    """DR-Tune (arXiv 2308.12058)."""

    queue: int = Field(2048, ge=1, description="Number K of past samples whose pre-trained features are kept.")
    rotation_every: int = Field(
        10, ge=1, description="Optimiser steps from one rotation of these features to the next."
    )


class SSFParameters(Frozen):
    """SSF (arXiv 2210.08823)."""

    init_std: float = Field(
        0.02, ge=0, le=1, description="Standard deviation of the initial scales around 1 and shifts around 0."
    )


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="dr_tune",
        version=2,
        target="coretune.tuning.methods.dr_tune:DRTune",
        summary="DR-Tune: cross-entropy also on a queue of calibrated features of the pre-trained encoder",
        source="Zhou, Chen, Huang, ICCV 2023, arXiv 2308.12058, section 3",
        parameters=DRTuneParameters,
        # The backbone gets n / (n + K) of CE-tuning's gradient, 1/33 at n = 64, and the classifier all of it. With
        # these both move as in CE-tuning at a learning rate of 0.03, searched from 0.003 to 0.3.
        train={"lr": 1.0, "head_lr": 0.03},
        train_space={"lr": Space("log_uniform", 0.1, 10.0)},
    ),
    Component(
        kind="method",
        name="ssf",
        version=1,
        target="coretune.tuning.methods.ssf:SSF",
        summary="SSF: scales and shifts after the layers of a resting backbone, merged into it afterwards",
        source="Lian, Zhou, Feng, Wang, NeurIPS 2022, arXiv 2210.08823",
        parameters=SSFParameters,
        train={"optimizer": "adamw", "lr": 5e-3, "weight_decay": 0.05, "decay_norm_and_bias": False},
        train_space={"lr": Space("log_uniform", 1e-4, 1e-1)},
    ),
    Component(
        kind="method",
        name="co_tuning",
        version=1,
        target="",
        summary="Co-Tuning: refused, since it needs the classifier of a supervised pre-training",
        source="You, Kou, Long, Wang, NeurIPS 2020",
        refused="it is trained to predict source classes too, by the classifier of a supervised pre-training, and a "
        "self-supervised backbone has none; dr_tune keeps pre-trained features in play without it",
    ),
]
