"""Fine-tuning methods, by family."""

from __future__ import annotations

from coretune.spec.catalog.methods import baselines, core_tuning
from coretune.spec.components import Component

COMPONENTS: list[Component] = [
    *baselines.COMPONENTS,
    *core_tuning.COMPONENTS,
]
