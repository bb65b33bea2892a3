"""Images that cannot be read: kept in their place in a pack, and refused or left out, as a study says.

Which ones they are follows from the content of the files, never from the machine, so that what is left out is the same
wherever a run is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from coretune.errors import UnfitError

UNREADABLE = -2
"""The label of such an image in a pack: no class. The others keep their places and thus their random numbers."""

LISTED = 10
"""So many are named in a message; `coretune data check` names all."""


class Unreadable(NamedTuple):
    """An image that cannot be read.

    Attributes:
        image: Its index.
        label: Its class.
        reason: Its name and why.
    """

    image: int
    label: int
    reason: str


class Reasoned(Protocol):
    """An image that cannot be read, and why."""

    @property
    def reason(self) -> str:
        """Its name and why."""


def counted(unreadable: Sequence[Reasoned], images: int) -> str:
    """Returns how many of so many images cannot be read, in words."""
    return f"{len(unreadable):,} of {images:,} images cannot be read"


def listed(unreadable: Sequence[Reasoned]) -> list[str]:
    """Returns the first of them, each with the reason, and how many more there are."""
    more = len(unreadable) - LISTED
    lines = [item.reason for item in unreadable[:LISTED]]
    return lines if more <= 0 else [*lines, f"and {more:,} more, which `coretune data check` lists"]


def refusal(unreadable: Sequence[Reasoned], images: int) -> UnfitError:
    """Returns the error of a data set with such images, where they are refused."""
    lines = "".join(f"\n  {line}" for line in listed(unreadable))
    return UnfitError(
        f"{counted(unreadable, images)}; repair or remove them, or leave them out by `corrupt: skip` below `data`:"
        f"{lines}"
    )
