"""What was proposed since a search's file was written: `proposed.jsonl`, a line for each trial.

A search's file has all of its trials and is written as a whole, too slow to be done for each of them. So a driver
appends what it proposes here, before it starts the run, and empties this file whenever all searches are written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from coretune.errors import StorageError
from coretune.results.cellfile import CellFile, TrialEntry
from coretune.results.files import append_line, explain
from coretune.spec.frozen import Frozen

NAME = "proposed.jsonl"

Proposals = Mapping[str, Sequence[TrialEntry]]
"""Trials by the cell's key, in the order in which they were proposed."""


class Proposed(Frozen):
    """One line."""

    cell: str
    trial: TrialEntry


def add_proposal(root: Path, cell: str, trial: TrialEntry) -> None:
    """Notes a trial of a cell.

    Raises:
        StorageError: It cannot be written.
    """
    append_line(root / NAME, Proposed(cell=cell, trial=trial).model_dump_json())


def drop_proposals(root: Path) -> None:
    """Empties the file: the searches have it all.

    Raises:
        StorageError: It cannot be removed.
    """
    path = root / NAME
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(explain(error, path)) from error


def read_proposals(root: Path) -> Proposals:
    """Returns what was noted; to be read before the searches, which may have it by then. A torn line counts as absent.

    Raises:
        StorageError: The file cannot be read.
    """
    path = root / NAME
    found: defaultdict[str, list[TrialEntry]] = defaultdict(list)
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(explain(error, path)) from error
    for line in lines:
        try:
            proposed = Proposed.model_validate_json(line)
        except ValidationError:
            continue
        found[proposed.cell].append(proposed.trial)
    return found


def with_proposals(cell: CellFile, proposals: Proposals) -> CellFile:
    """Returns a search with those of its trials that its file does not have yet."""
    new = [trial for trial in proposals.get(cell.key, ()) if trial.number >= len(cell.trials)]
    return cell.replace(trials=(*cell.trials, *new)) if new else cell
