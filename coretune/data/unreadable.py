"""Images that cannot be read or, with masks, used: kept in their place in a pack, refused or left out as a study says.

Which ones they are follows from the content of the files, never from the machine, so that what is left out is the same
wherever a run is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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


def counted(number: int, images: int, *, masks: bool = False) -> str:
    """Returns how many of so many images cannot be read, in words; of those with masks, which may not fit, used."""
    return f"{number:,} of {images:,} images cannot be {'used' if masks else 'read'}"


def listed(reasons: Sequence[str]) -> list[str]:
    """Returns the first reasons, one for each image, and how many more there are."""
    more = len(reasons) - LISTED
    lines = list(reasons[:LISTED])
    return lines if more <= 0 else [*lines, f"and {more:,} more, which `coretune data check` lists"]


def refusal(reasons: Sequence[str], images: int, *, masks: bool = False, root: Path | None = None) -> UnfitError:
    """Returns the error of a data set with such images, where they are refused.

    Args:
        reasons: Why they cannot be used, one for each.
        images: How many images there are.
        masks: Whether they have masks.
        root: What the names of files in the reasons are relative to, if they are.
    """
    lines = "".join(f"\n  {line}" for line in listed(reasons))
    where = f"{root}: " if root is not None else ""
    return UnfitError(
        f"{where}{counted(len(reasons), images, masks=masks)}; repair or remove them, or leave them out by "
        f"`corrupt: skip` below `data`:{lines}"
    )
