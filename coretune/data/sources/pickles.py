"""The pickles of CIFAR, read without running anything that they name: arrays, numbers, texts, lists, dictionaries."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coretune.data.decode import head_of, resemblance
from coretune.errors import UnfitError


def read_pickle(file: Path) -> dict[str, Any]:
    """Returns the dictionary in a pickle of plain values and uint8 arrays, as CIFAR's authors wrote them.

    numpy's names in it are answered with inert stand-ins; any other name is refused, so that nothing is ever called.

    Raises:
        UnfitError: It cannot be read, is none, or names something else.
    """
    try:
        with file.open("rb") as stream:
            found = _Reader(stream, encoding="bytes").load()
        if not isinstance(found, dict):
            raise ValueError(f"holds a {type(found).__name__}, not a dictionary")
        return {_text(key): _value(value) for key, value in found.items()}
    except Exception as error:  # a broken or hostile pickle may raise anything
        head = head_of(file)
        looks_like = "" if head is None else resemblance(head, "a pickle of CIFAR")
        reason = looks_like or getattr(error, "strerror", None) or f"is no pickle of CIFAR: {error}"
        raise UnfitError(f"{file}: {reason}") from error


class _Array:
    """What stands for an array while it is unpickled."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def value(self) -> NDArray[np.uint8]:
        _, shape, kind, by_column, content = self.state
        if not isinstance(kind, _Kind) or kind.name != "u1" or by_column:
            raise ValueError("an array that is not of bytes, row by row")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape)


class _Kind:
    """What stands for the type of an array's elements."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = _text(name)

    def __setstate__(self, state: Any) -> None:
        pass


def _latin(text: str, encoding: str = "latin1") -> bytes:
    """What stands for `codecs.encode`, with which Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


_STAND_INS = {
    ("multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): object,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _latin,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        short = "multiarray" if module in ("numpy.core.multiarray", "numpy._core.multiarray") else module
        try:
            return _STAND_INS[short, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not run") from None


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _value(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value()
    if isinstance(value, list):
        return [_text(item) if isinstance(item, bytes) else item for item in value]
    return _text(value) if isinstance(value, bytes) else value
