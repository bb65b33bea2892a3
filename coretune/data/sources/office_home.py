"""Office-Home: art, clip art, product, real world."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import Source
from coretune.data.sources.domains import open_domains
from coretune.spec.frozen import Frozen


def office_home(path: Path | None, params: Frozen) -> Source:
    """Opens Office-Home (Venkateswara et al., CVPR 2017).

    Args:
        path: A folder of it.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: It is not there, or not whole.
    """
    others = {"Real World": ("Real_World", "RealWorld", "Real", "real_world"), "Art": ("art",)}
    others |= {"Clipart": ("clipart",), "Product": ("product",)}
    return open_domains("office_home", path, other_names=others)
