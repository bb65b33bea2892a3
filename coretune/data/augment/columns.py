"""Which column of a sample's row of uniform numbers belongs to which operation.

A row is the tables below, side by side. Each table has a purpose, and so a stream of random numbers, of its own: a
later table moves no number of an earlier one. What a column is for and how wide a table is never change, since
recorded runs were drawn from them; a new operation gets a new table at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from coretune.spec.augment import AugmentSpec

AREA, RATIO, LEFT, TOP, FLIP, ANGLE, BRIGHTNESS, CONTRAST = range(8)
SATURATION, HUE, JITTER, GREY = range(8, 12)
BLUR, SIGMA = range(12, 14)
VERTICAL = 14
ORDER = 15


class Table(NamedTuple):
    """Some columns.

    Attributes:
        purpose: Names the stream that they are drawn from.
        columns: Uniform numbers per sample and view.
        needed: Whether a spec reads one of them.
    """

    purpose: str
    columns: int
    needed: Callable[[AugmentSpec], bool]


def _always(spec: AugmentSpec) -> bool:
    return True


def _colours(spec: AugmentSpec) -> bool:
    return spec.saturation > 0 or spec.hue > 0 or spec.grey > 0 or spec.jitter_probability < 1


def _blurs(spec: AugmentSpec) -> bool:
    return spec.blur > 0


def _turns_over(spec: AugmentSpec) -> bool:
    return spec.vertical_flip


def _shuffles(spec: AugmentSpec) -> bool:
    return spec.jitter_order == "shuffled"


TABLES = (
    Table("augment", 8, _always),
    Table("colour", 4, _colours),
    Table("blur", 2, _blurs),
    Table("vertical", 1, _turns_over),
    Table("order", 1, _shuffles),
)
COLUMNS = sum(table.columns for table in TABLES)
"""Columns of a whole row."""


def streams(spec: AugmentSpec) -> dict[str, int]:
    """Returns the purposes and widths of the tables that, side by side, are a spec's draws.

    They are the first tables, up to the last one that the spec needs, so that a column has the same number for all.
    """
    last = max(place for place, table in enumerate(TABLES) if table.needed(spec))
    return {table.purpose: table.columns for table in TABLES[: last + 1]}
