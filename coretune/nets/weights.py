"""Weights on disk: safetensors, whole or absent, loaded completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from coretune.errors import RequestError, StorageError
from coretune.results.files import explain, put_atomic

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
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except OSError as error:
        raise StorageError(explain(error, path)) from error
    except SafetensorError as error:
        raise StorageError(f"{path}: is no whole safetensors file: {_resemblance(path) or error}") from error


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Loads a backbone from the keys below `encoder.` of a file; every key and shape must match.

    Args:
        encoder: Changed in place, unless something does not match.
        path: A file of weights that coretune wrote.

    Raises:
        StorageError: The file cannot be read.
        RequestError: The file holds another architecture; the message lists what is missing or unexpected.
    """
    tensors, _ = load_weights(path)
    found = {key.removeprefix(ENCODER): value for key, value in tensors.items() if key.startswith(ENCODER)}
    if not found:
        raise RequestError(f"{path}: holds no backbone: no key begins with {ENCODER!r}; it has {_some(list(tensors))}")
    wanted = encoder.state_dict()
    shapes = [
        f"{key} {tuple(found[key].shape)} in the file, {tuple(wanted[key].shape)} here"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    problems = [
        f"{len(keys)} {what}: {_some(keys)}"
        for what, keys in (
            ("missing", [key for key in wanted if key not in found]),
            ("unexpected", [key for key in found if key not in wanted]),
            ("of another shape", shapes),
        )
        if keys
    ]
    if problems:
        raise RequestError(f"{path}: is of another architecture than {type(encoder).__name__}: {'; '.join(problems)}")
    encoder.load_state_dict(found, strict=True)


def _some(keys: list[str]) -> str:
    more = len(keys) - LISTED
    return ", ".join(keys[:LISTED]) + (f" and {more} more" if more > 0 else "") if keys else "nothing"


def _resemblance(path: Path) -> str:
    """Returns what a file that is no safetensors file looks like, or nothing."""
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is an HTML page, not the file that was meant to be downloaded"
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "it is a PyTorch checkpoint (zip or pickle), which this version does not read"
    return ""
