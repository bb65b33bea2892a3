"""Methods with a contrastive term."""

from __future__ import annotations

from coretune.spec.components import Component

COMPONENTS: list[Component] = []
