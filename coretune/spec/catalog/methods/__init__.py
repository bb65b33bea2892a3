"""Fine-tuning methods, by family."""

from __future__ import annotations

from coretune.spec.catalog.methods import baselines, contrast, core_tuning, domains, mixing, regularisers, transfer
from coretune.spec.components import Component

COMPONENTS: list[Component] = [
    *baselines.COMPONENTS,
    *core_tuning.COMPONENTS,
    *mixing.COMPONENTS,
    *regularisers.COMPONENTS,
    *contrast.COMPONENTS,
    *transfer.COMPONENTS,
    *domains.COMPONENTS,
]
