"""Reads the tensors of a checkpoint, of whichever form, without executing what it contains."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from coretune.errors import RequestError, StorageError
from coretune.nets.checkpoints.files import (
    PICKLE,
    ZIP,
    is_safetensors,
    is_tar,
    read_head,
    read_safetensors,
    resemblance,
)
from coretune.nets.checkpoints.inert import NAMES, Inert, strange_name
from coretune.nets.checkpoints.tar import RefusedGlobal, read_tar

Form = Literal["safetensors", "PyTorch zip", "PyTorch pickle", "PyTorch tar"]

DEEPEST = 3
"""How many dictionaries a state dict may lie inside of."""

_NAMED = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        form: How it is stored.
        sections: Tensors by key, by the dotted name of the dictionary that holds them; the outermost is "".
        extras: Names of what stands beside them, e.g. `epoch`, `optimizer`.
        metadata: Texts of a safetensors file.
    """

    form: Form
    sections: Mapping[str, Mapping[str, Tensor]]
    extras: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Contents:
    """Reads a file of weights: safetensors, or what `torch.save` of any version wrote.

    A pickle is read by `torch.load(weights_only=True)`, which makes tensors and plain containers only. Arguments of a
    training script, numpy's scalars and the like are skipped (`inert.NAMES`).

    Args:
        path: The file.

    Raises:
        RequestError: It would have to execute something, which the message names, or it holds no tensors.
        StorageError: It is absent, truncated, or no checkpoint; the message says what it looks like.
    """
    head = read_head(path)
    if is_safetensors(head):
        tensors, metadata = read_safetensors(path)
        return _checked(path, Contents("safetensors", {"": tensors}, metadata=metadata))
    form: Form
    try:
        if is_tar(head, path):
            form, value = "PyTorch tar", read_tar(path)
        elif head.startswith((ZIP, PICKLE)):
            form, value = "PyTorch zip" if head.startswith(ZIP) else "PyTorch pickle", _load(path)
        else:
            said = resemblance(head) or f"it begins with {head[:8]!r}"
            raise StorageError(f"{path}: is no checkpoint: {said}")
    except RefusedGlobal as error:
        raise RequestError(
            f"{path}: is refused: to read it, {error.name} would have to be executed, and a file may execute anything; "
            "where you trust it, load it with its own code and save `model.state_dict()` again"
        ) from error
    sections = {name: found for name, found in _sections("", value) if found}
    return _checked(path, Contents(form, sections, _extras(value)))


def _checked(path: Path, contents: Contents) -> Contents:
    if not any(contents.sections.values()):
        beside = f"; it has {', '.join(contents.extras[:5])}" if contents.extras else ""
        raise RequestError(f"{path}: holds no tensors by name{beside}")
    return contents


def _load(path: Path) -> Any:
    """Returns the object of a zip or pickle file.

    Raises:
        RefusedGlobal: It names what would have to be executed.
        StorageError: It is damaged, or no file of PyTorch.
    """
    inert: list[Any] = [(Inert, name) for name in NAMES]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(inert):
            warnings.simplefilter("ignore")  # protocols other than 2, storages of old versions
            return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except pickle.UnpicklingError as error:
        named = _NAMED.search(str(error))
        if named is not None:
            raise RefusedGlobal(named[1]) from error
        if not read_head(path).startswith(ZIP) and (name := strange_name(path.read_bytes())) is not None:
            raise RefusedGlobal(name) from error
        raise StorageError(f"{path}: cannot be read as tensors and plain containers: {_reason(error)}") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise StorageError(f"{path}: is damaged, truncated, or no file of PyTorch: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Returns torch's own words, without its advice to allow everything."""
    inner = re.search(r"WeightsUnpickler error:\s+(.+)", str(error))
    said = (inner[1] if inner is not None else str(error).partition("\n")[0]).strip()
    if said.startswith("Unsupported operand"):
        return "it is pickled by another protocol than torch's own, 2"
    return said.partition(". ")[0] or type(error).__name__


def _sections(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields the dictionaries that hold tensors by name, the outermost first."""
    if not isinstance(value, Mapping) or depth > DEEPEST:
        return
    named = {key: item for key, item in value.items() if isinstance(key, str)}
    yield name, {key: item.detach() for key, item in named.items() if isinstance(item, Tensor)}
    for key, item in named.items():
        yield from _sections(f"{name}.{key}" if name else key, item, depth + 1)


def _extras(value: Any) -> tuple[str, ...]:
    """Returns the names beside the dictionaries of tensors, at the top of a file."""
    if not isinstance(value, Mapping):
        return ()
    return tuple(
        str(key)
        for key, item in value.items()
        if not isinstance(item, Tensor) and not any(found for _, found in _sections("", item))
    )
