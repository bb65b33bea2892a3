"""Plug-in files that came to a machine together with coretune, and lie elsewhere than the study says."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

FOLDER = "coretune_shipped"
"""A folder on the import path; `coretune.cluster.shipping` makes it."""
INDEX = "index.json"
"""In it: names of its files, by the paths that they had where they came from."""


def local_copy(path: str) -> str:
    """Returns where a plug-in file lies here: the copy that came along, else the path itself.

    The copy goes before a file at the same path: that one may be older.
    """
    return _copies().get(path, path)


@lru_cache(maxsize=1)
def _copies() -> Mapping[str, str]:
    found = importlib.util.find_spec(FOLDER)
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        index = Path(place) / INDEX
        if index.is_file():
            return {path: str(index.parent / name) for path, name in json.loads(index.read_text()).items()}
    return {}
