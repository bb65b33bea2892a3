"""Self-supervised pre-training, so that no download is ever required."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen


class MoCoParameters(Frozen):
    """MoCo-v2 (arXiv 2003.04297)."""

    temperature: float = Field(0.2, gt=0, description="Temperature of the InfoNCE softmax.")
    momentum: float = Field(0.99, ge=0, lt=1, description="Momentum of the key encoder.")
    queue: int = Field(1024, ge=1, description="Number of negative keys.")
    projection_dim: int = Field(128, ge=2, description="Width of the projection head's output.")


COMPONENTS: list[Component] = [
    Component(
        kind="pretraining",
        name="moco_v2",
        version=1,
        target="coretune.pretrain.moco:MoCo",
        summary="MoCo-v2: contrast of two views against a queue of keys from a momentum encoder",
        source="Chen, Fan, Girshick, He, arXiv 2003.04297",
        parameters=MoCoParameters,
        train={"epochs": 40, "batch": 128, "contrast_batch": 128, "lr": 0.06, "weight_decay": 5e-4, "head_lr": 1.0},
    )
]
