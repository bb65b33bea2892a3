"""Where data and caches live: by environment, so that a study file names no machine."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "CORETUNE_CACHE"
DATA_VARIABLE = "CORETUNE_DATA"


def cache_root() -> Path:
    """Returns where packs and fingerprints are kept: `$CORETUNE_CACHE`, else `~/.cache/coretune`."""
    said = os.environ.get(CACHE_VARIABLE)
    return Path(said).expanduser() if said else Path.home() / ".cache" / "coretune"


def data_root() -> Path | None:
    """Returns where data sets without a path of their own are looked for: `$CORETUNE_DATA`, if it is set."""
    said = os.environ.get(DATA_VARIABLE)
    return Path(said).expanduser() if said else None
