"""Whether a place may hold single runs."""

from __future__ import annotations

from pathlib import Path

from coretune.errors import RequestError
from coretune.results.lock import NAME
from coretune.results.remote import remote_url

OWN = ("manifest.json", "runs")
"""What the results of single runs are known by."""


def refuse_other_places(root: Path) -> None:
    """Refuses a place that is no results directory of single runs and not empty, before anything is written there.

    A study's manifest, leaderboard and clean-up speak of its own runs, so that single runs are kept out of its results.

    Args:
        root: The place.

    Raises:
        RequestError: It is a file, a study's results, or a folder of something else.
    """
    if (url := remote_url(root)) is not None:
        raise RequestError(f"{url}: only studies have their results in an object store; give a directory")
    if (root / "study.yaml").exists():
        raise RequestError(
            f"{root} holds the results of a study (study.yaml): give another directory with out= or --out"
        )
    if root.exists() and not root.is_dir():
        raise RequestError(f"{root} is a file, not a directory: give another place with out= or --out")
    others = [path for path in root.iterdir() if not path.name.startswith((".", NAME))] if root.is_dir() else []
    if others and not any((root / mark).exists() for mark in OWN):
        raise RequestError(
            f"{root} is not empty and holds no results of coretune: give another directory with out= or --out"
        )
