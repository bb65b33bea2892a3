"""Runs that another results directory beside this one has: as good as our own, since the hash of a run names it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from coretune.errors import StorageError
from coretune.results.files import explain

if TYPE_CHECKING:
    from coretune.results.store import ResultsStore


def adopt(store: ResultsStore, run_id: str, *, weights: bool) -> bool:
    """Copies a completed run into a store from a results directory beside it, as `ResultsStore.adopt` says."""
    for place in _beside(store.root.absolute()):
        folder = Path(place, "runs", run_id)
        if not folder.is_dir() or not Path(place, "manifest.json").is_file():
            continue
        neighbour = type(store)(Path(place))
        try:
            record = neighbour.record(run_id)
        except StorageError as error:
            store.warn(f"{error}; left out")
            continue
        if record is None or record.status != "completed":
            continue
        if weights and not neighbour.weights_path(run_id).is_file():
            continue
        _copy(folder, store.run_folder(run_id))
        store.mirror.publish_changed(f"runs/{run_id}")
        store.put_record(record)
        return True
    return False


def _beside(root: Path) -> list[str]:
    """Returns what lies beside a folder, sorted; asked for every trial, so that it is not globbed for."""
    try:
        return sorted(entry.path for entry in os.scandir(root.parent) if entry.name != root.name)
    except OSError:
        return []


def _copy(folder: Path, target: Path) -> None:
    try:
        for path in folder.rglob("*"):
            relative = path.relative_to(folder)
            hidden = path.name.startswith(".")  # what an interrupted write left
            if path.is_file() and not hidden and relative.parts[0] != "state" and path.name != "record.json":
                (target / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / relative)
    except OSError as error:
        raise StorageError(explain(error, target)) from error
