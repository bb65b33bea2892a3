"""Methods that use the pre-trained features or adapt them."""

from __future__ import annotations

from coretune.spec.components import Component

COMPONENTS: list[Component] = []
