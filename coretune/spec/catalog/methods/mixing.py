"""Methods that mix images or features."""

from __future__ import annotations

from coretune.spec.components import Component

COMPONENTS: list[Component] = []
