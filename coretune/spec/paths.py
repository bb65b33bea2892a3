"""Paths as a study file writes them: relative to the file's folder, with `~` and variables of the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path

CACHE_VARIABLE = "CORETUNE_CACHE"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


def cache_root() -> Path:
    """Returns where packs, fingerprints and copies are kept: `$CORETUNE_CACHE`, else `~/.cache/coretune`."""
    said = os.environ.get(CACHE_VARIABLE)
    return Path(said).expanduser() if said else Path.home() / ".cache" / "coretune"


def absolute_path(folder: Path, text: str) -> str:
    """Returns the absolute form of a path as a study file writes it; one that begins with an unset variable as it is.

    Args:
        folder: What the path is relative to.
        text: The path, e.g. `images`, `~/images`, `$CORETUNE_CHECKPOINTS/moco.pth`.
    """
    if unset_variable(text):
        return text
    return os.path.abspath(folder / os.path.expanduser(os.path.expandvars(text)))


def begins_with_variable(text: str) -> bool:
    """Returns whether a path begins with a variable, so that it means another place in another environment."""
    return _VARIABLE.match(text) is not None


def unset_variable(text: str) -> str:
    """Returns the variable that a path begins with, if it is not set or empty; else nothing."""
    match = _VARIABLE.match(text)
    name = (match[1] or match[2]) if match else ""
    return "" if name and os.environ.get(name) else name
