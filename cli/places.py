"""Which results directory, study file or run the words of a command line mean.

Imports nothing heavy: `study status` answers in a fraction of a second.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from coretune.errors import RequestError, StorageError
from coretune.results.remote import remote_url
from coretune_cli.state import StudyState, parse_state

RESULTS = Path("results")
MARKS = ("study.yaml", "state.json", "cells")
RUNS = "runs"
_RUN_ID = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True)
class RunPlace:
    """A run's results directory and its id."""

    results: Path
    run_id: str

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.results / RUNS / self.run_id


def is_results(folder: Path) -> bool:
    """Returns whether a folder looks like the results of a study; one with runs alone is `coretune.tune`'s."""
    return folder.is_dir() and any((folder / mark).exists() for mark in MARKS)


def all_results(base: Path = RESULTS) -> list[Path]:
    """Returns the results directories of studies below a folder, newest first."""
    return [folder for folder in _folders(base) if is_results(folder)]


def newest_results(base: Path = RESULTS) -> Path:
    """Returns the results directory of a study that was written last.

    Raises:
        RequestError: There is none.
    """
    found = all_results(base)
    if not found:
        others = [folder for folder in _folders(base) if _holds_runs(folder)]
        what = f" ({others[0]} holds single runs, no study)" if others else ""
        raise RequestError(
            f"no results below ./{base}{what}: give a results directory, or make one with "
            "`coretune study run quickstart`"
        )
    return found[0]


def find_results(words: str | None, *, single_runs: bool = False) -> tuple[Path, bool]:
    """Returns the results directory that an argument means: a path, a study's name below ./results, or the newest.

    Args:
        words: The argument.
        single_runs: Whether a directory will do that holds single runs and no study, where it is named.

    Returns:
        The directory, and whether it was chosen for want of an argument.

    Raises:
        RequestError: No such directory, or it holds no study.
    """
    if words is None:
        return newest_results(), True
    if (url := remote_url(words)) is not None:
        from coretune.results.store import reading

        copy = reading(url).root
        if not is_results(copy):
            raise RequestError(f"{url} holds no results of a study (no {' or '.join(MARKS[:2])} in it)")
        return copy, False
    places = (Path(words), RESULTS / words)
    for folder in places:
        if is_results(folder) or (single_runs and _holds_runs(folder)):
            return folder, False
    for folder in places:
        if _holds_runs(folder):
            raise RequestError(
                f"{folder} holds single runs, no study (no {' or '.join(MARKS[:2])} in it); see one with: "
                f"coretune study show {_newest_run(folder)} --out {folder}"
            )
    if Path(words).is_dir():
        raise RequestError(f"{words} holds no results of a study (no {' or '.join(MARKS[:2])} in it)")
    known = [folder.name for folder in all_results()]
    near = get_close_matches(Path(words).name, known, n=1, cutoff=0.5)
    hint = f"did you mean {RESULTS / near[0]}?" if near else f"below ./{RESULTS}: {', '.join(known) or 'nothing'}"
    raise RequestError(f"{words}: no such results directory; {hint}")


def find_run(words: str, results: Path | None = None) -> RunPlace:
    """Returns the run that an id, the beginning of one, or a run's folder means.

    Args:
        words: What was given.
        results: Where to look; default: every directory with runs below ./results, newest first.

    Raises:
        RequestError: No such run, or more than one.
    """
    path = Path(words)
    if path.is_dir() and path.absolute().parent.name == RUNS:
        return RunPlace(path.absolute().parent.parent, path.absolute().name)
    if not _RUN_ID.fullmatch(words):
        raise RequestError(f"{words!r} is neither a results directory nor a run id (at least 4 hexadecimal digits)")
    places = [results] if results is not None else [folder for folder in _folders(RESULTS) if _holds_runs(folder)]
    found = [RunPlace(place, folder.name) for place in places for folder in sorted((place / RUNS).glob(f"{words}*"))]
    found = [place for place in found if place.folder.is_dir() and _RUN_ID.fullmatch(place.run_id)]
    ids = sorted({place.run_id for place in found})
    if not found:
        where = ", ".join(map(str, places)) or f"./{RESULTS}, which holds no results"
        raise RequestError(f"no run {words} in {where}; name its results directory")
    if len(ids) > 1:
        raise RequestError(f"{words} begins {len(ids)} run ids: {', '.join(ids[:6])}{' …' if len(ids) > 6 else ''}")
    return found[0]


def read_state_json(folder: Path) -> dict[str, Any]:
    """Returns the value of a results directory's `state.json`.

    Raises:
        RequestError: There is none.
        StorageError: It cannot be read, or is no state.
    """
    path = folder / "state.json"
    try:
        raw = json.loads(path.read_bytes())
        parse_state(raw)
    except FileNotFoundError as error:
        raise RequestError(
            f"{folder} has no state.json: its study has not begun; `coretune study resume {folder}`"
        ) from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} is not readable ({_first_line(error)}); records are not touched by that, "
            f"`coretune study resume {folder}` writes it anew"
        ) from error
    return dict(raw)


def read_state(folder: Path) -> StudyState:
    """Returns what the driver of a results directory said last.

    Raises:
        RequestError: It said nothing yet.
        StorageError: It cannot be read.
    """
    return parse_state(read_state_json(folder))


def _folders(base: Path) -> list[Path]:
    """Returns the folders in a folder, newest first; none if it is not there."""
    try:
        found = [folder for folder in base.iterdir() if folder.is_dir()] if base.is_dir() else []
    except OSError as error:
        raise StorageError(f"{base}: cannot be listed: {error.strerror}") from error
    return sorted(found, key=lambda folder: (-_changed(folder), folder.name))


def _holds_runs(folder: Path) -> bool:
    return (folder / RUNS).is_dir()


def _newest_run(folder: Path) -> str:
    """Returns the id of the run in a folder that was written last, or the word that stands for one."""
    ids = [run.name for run in sorted((folder / RUNS).iterdir(), key=_changed) if _RUN_ID.fullmatch(run.name)]
    return ids[-1] if ids else "RUN_ID"


def _changed(folder: Path) -> float:
    for path in (folder / "state.json", folder):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
