"""PACS: photo, art painting, cartoon, sketch."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import Source
from coretune.data.sources.domains import open_domains
from coretune.spec.frozen import Frozen


def pacs(path: Path | None, params: Frozen) -> Source:
    """Opens PACS (Li et al., ICCV 2017).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    return open_domains("pacs", path, other_names={"art_painting": ("art", "Art_painting")})
