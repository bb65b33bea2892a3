"""The state of an unfinished run on disk."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coretune.errors import StorageError
from coretune.results.files import explain, put_atomic

MAGIC = b"coretune state 1\n"
"""The file's first bytes; SHA-256 of the rest (32 bytes) follows, then what torch.save wrote."""


@dataclass(frozen=True)
class RunState:
    """What another execution of a run goes on from.

    Attributes:
        training: `Training.state()`.
        started: When the first execution began; ISO 8601, UTC.
        elapsed_s: Seconds that all executions have taken so far.
        notes: What the record will have to say.
    """

    training: dict[str, Any]
    started: str
    elapsed_s: float
    notes: tuple[str, ...] = ()


def save_state(folder: Path, run_id: str, state: RunState) -> None:
    """Writes a run's state atomically.

    Raises:
        StorageError: The disk is full or read-only.
    """
    buffer = io.BytesIO()
    torch.save({"run": run_id, **state.__dict__}, buffer)
    content = buffer.getvalue()
    put_atomic(folder / "state.pt", MAGIC + hashlib.sha256(content).digest() + content)


def load_state(folder: Path, run_id: str) -> RunState | None:
    """Reads a run's state, tensors on the CPU; None if there is none. Nothing in the file is executed.

    Raises:
        ValueError: The file is damaged or belongs to another run.
        StorageError: The file cannot be read.
    """
    path = folder / "state.pt"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"{path} is no file") from error
    except OSError as error:
        raise StorageError(explain(error, path)) from error
    digest, payload = content[len(MAGIC) :][:32], content[len(MAGIC) + 32 :]
    # torch.load does not check its archive's checksums: a flipped bit would become a weight.
    if not content.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path} is damaged")
    try:
        loaded = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        owner = loaded.pop("run")
        state = RunState(**loaded)
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no state of a run: {type(error).__name__}") from error
    if owner != run_id:
        raise ValueError(f"{path} is the state of run {owner}, not of {run_id}")
    return state
