"""Evaluations of a trained model."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen


class GeometryParameters(Frozen):
    """The pool that the geometry of features is measured on."""

    per_class: int = Field(
        50, ge=2, le=10_000, description="Images per class of the pool, or those of the smallest class if it has fewer."
    )
    temperature: float = Field(0.07, gt=0, le=100, description="Temperature τ of the contrastive loss that is split.")


COMPONENTS: list[Component] = [
    Component(
        kind="evaluation",
        name="classification",
        version=1,
        target="coretune.tuning.classification:evaluate_classification",
        summary="top-1, mean per-class accuracy (per cent), and cross-entropy (nats)",
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
]
