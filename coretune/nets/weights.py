"""Weights on disk: safetensors, whole or absent, loaded completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.checkpoints import Match, put, read_checkpoint, recognise
from coretune.nets.checkpoints.files import read_safetensors
from coretune.nets.checkpoints.layouts import OWN
from coretune.results.files import put_atomic
from coretune.spec.wording import some

ENCODER = "encoder."
"""What the backbone's keys begin with in a file of a whole model."""

LISTED = 5
"""Keys that a message names before it counts."""


def save_weights(module_state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes tensors and what is known about them to one safetensors file, atomically.

    Args:
        module_state: Tensors by key, on any device.
        path: The file.
        metadata: Texts by key, e.g. the run's id.

    Raises:
        StorageError: The disk is full or the folder is read-only.
    """
    # A copy each: safetensors refuses tensors that share memory.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in module_state.items()}
    put_atomic(path, save(tensors, metadata=dict(metadata)))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a file that `save_weights` wrote. Nothing in it is executed.

    Returns:
        Tensors on the CPU by key, and the metadata.

    Raises:
        StorageError: The file is absent, truncated, or no safetensors file; the message says what it looks like.
    """
    return read_safetensors(path)


def load_encoder(encoder: nn.Module, path: Path, arch: str | None = None) -> Match | None:
    """Loads a backbone from a checkpoint, of coretune or of another project.

    Of a file that a run of coretune wrote every key and shape must match. Of others, 95 % must (`checkpoints.match`);
    what is missing keeps its values, and the match says so.

    Args:
        encoder: Changed in place, unless something does not match.
        path: The file.
        arch: What the backbone is called in messages; default: its class.

    Returns:
        What matched, or None for a file that a run of coretune wrote.

    Raises:
        StorageError: The file cannot be read.
        RequestError: The file holds another architecture, or what would have to be executed; the message says what.
    """
    name = arch or type(encoder).__name__
    found = recognise(read_checkpoint(path))
    if found.layout.name == OWN:
        _load_own(encoder, found.tensors, path, name)
        return None
    try:
        return put(found, encoder, name)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def _load_own(encoder: nn.Module, found: Mapping[str, Tensor], path: Path, name: str) -> None:
    wanted = encoder.state_dict()
    shapes = [
        f"{key} {tuple(found[key].shape)} in the file, {tuple(wanted[key].shape)} here"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    problems = [
        f"{len(keys)} {what}: {some(keys, LISTED)}"
        for what, keys in (
            ("missing", [key for key in wanted if key not in found]),
            ("unexpected", [key for key in found if key not in wanted]),
            ("of another shape", shapes),
        )
        if keys
    ]
    if problems:
        raise RequestError(f"{path}: is of another architecture than {name}: {'; '.join(problems)}")
    encoder.load_state_dict(dict(found), strict=True)
