"""What an evaluation found, where numbers alone do not say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coretune.tuning.arguments import bad_argument

RESERVED = ("images", "classes")
"""Details that every evaluation has."""

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found. A judge that has nothing but numbers may return the mapping of them instead.

    Attributes:
        metrics: Numbers by name, as leaderboards and tables show them.
        details: What else there is to know, as JSON values; it joins `images` and `classes` in `Evaluation.details`.
        arrays: Rows by image, of the images that this worker judged, e.g. adversarial ones; `index` says which images
            of the pack they are. They are written only where somebody asks for them.

    Raises:
        ValueError: The details are no JSON, or take a name that every evaluation's details have; or the arrays have
            different numbers of rows.
    """

    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    arrays: Arrays = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if taken := [name for name in RESERVED if name in self.details]:
            raise bad_argument("details", f"{' and '.join(taken)}, which every evaluation has", "other names")
        try:
            json.dumps(dict(self.details), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise bad_argument("details", str(error), "JSON values, and finite numbers") from error
        if len({len(rows) for rows in self.arrays.values()}) > 1:
            sizes = {name: len(rows) for name, rows in self.arrays.items()}
            raise bad_argument("arrays", f"rows {sizes}", "as many of each, one per image")


def as_judgement(found: Judgement | Mapping[str, float]) -> Judgement:
    """Returns what a judge returned as a `Judgement`."""
    return found if isinstance(found, Judgement) else Judgement(found)
