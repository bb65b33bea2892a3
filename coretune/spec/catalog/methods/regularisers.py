"""Methods that hold the weights or the features near something."""

from __future__ import annotations

from coretune.spec.components import Component

COMPONENTS: list[Component] = []
