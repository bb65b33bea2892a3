"""Where data and caches live: by environment, so that a study file names no machine."""

from __future__ import annotations

import os
from pathlib import Path

from coretune.spec.paths import CACHE_VARIABLE, cache_root

__all__ = ["CACHE_VARIABLE", "DATA_VARIABLE", "cache_root", "data_root"]

DATA_VARIABLE = "CORETUNE_DATA"


def data_root() -> Path | None:
    """Returns where data sets without a path of their own are looked for: `$CORETUNE_DATA`, if it is set."""
    said = os.environ.get(DATA_VARIABLE)
    return Path(said).expanduser() if said else None
