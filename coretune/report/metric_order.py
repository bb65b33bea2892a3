"""One order of metrics out of several lists of them that each lack some."""

from __future__ import annotations

from collections.abc import Iterable


def merged(orders: Iterable[Iterable[str]]) -> list[str]:
    """Returns all names, those that only a later list has behind the one that precedes them there.

    A class that is in no pixel of one run has no IoU there; in the table it keeps its place among the classes.

    Args:
        orders: Lists of names, each in the order in which they are told.
    """
    found: list[str] = []
    for order in orders:
        place = 0
        for name in order:
            if name not in found:
                found.insert(place, name)
            place = found.index(name) + 1
    return found
