"""Evaluations of a trained model."""

from __future__ import annotations

from coretune.spec.components import Component

COMPONENTS: list[Component] = [
    Component(
        kind="evaluation",
        name="classification",
        version=1,
        target="coretune.tuning.classification:evaluate_classification",
        summary="top-1, mean per-class accuracy (per cent), and cross-entropy (nats)",
    )
]
