"""When and on what a run is executed. Without torch: the driver, which has none, reads it from its workers' results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Life:
    """When and on what a run is executed, for whoever writes its record in its place.

    Attributes:
        started: When its first execution began; ISO 8601, UTC.
        elapsed_s: Seconds that all executions have taken so far.
        environment: As in `Record.environment`.
    """

    started: str
    elapsed_s: float
    environment: Mapping[str, Any]
