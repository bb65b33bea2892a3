"""What every method is compared with."""

from __future__ import annotations

from coretune.spec.components import Component, NoParameters

COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="ce",
        version=1,
        target="coretune.tuning.methods.cross_entropy:CrossEntropy",
        summary="CE-tuning: cross-entropy of a linear classifier on the backbone's features",
        source="the baseline of arXiv 2102.06605",
        parameters=NoParameters,
    ),
]
