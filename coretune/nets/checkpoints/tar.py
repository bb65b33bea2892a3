"""The oldest form of PyTorch's files (before version 0.1.10): a tar archive of pickles and raw storages.

Its members are `storages`, `tensors` and `pickle`. Each is a sequence of pickles, raw numbers between them; tensors
name storages by number, the last pickle names tensors by number. torch itself reads it only with an unpickler that
executes what it is told to; the one here knows containers, storage types and `NAMES`, and refuses the rest.

Source: the reading side in `torch/serialization.py`, function `_legacy_load`.
"""

from __future__ import annotations

import pickle
import struct
import tarfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from coretune.errors import RequestError, StorageError
from coretune.nets.checkpoints.inert import NAMES, Inert

MEMBERS = ("storages", "tensors", "pickle")

DTYPES = {
    f"{kind}Storage": dtype
    for kind, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
    }.items()
}


class RefusedGlobal(pickle.UnpicklingError):
    """A pickle names what would have to be executed.

    Attributes:
        name: The dotted name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Unpickler(pickle.Unpickler):
    """Makes containers and numbers; resolves persistent ids in `known`."""

    def __init__(self, file: IO[bytes], known: dict[int, Any]) -> None:
        super().__init__(file, encoding="latin1")
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a name stands for, unless it would have to be executed."""
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OrderedDict
        if module in ("torch", "torch.cuda") and name in DTYPES:
            return DTYPES[name]
        if full in NAMES or (module in ("torch", "torch.cuda") and name.endswith("Tensor")):
            return Inert
        raise RefusedGlobal(full)

    def persistent_load(self, key: Any) -> Any:
        """Returns a tensor by its number."""
        return self._known[int(key)]


def read_tar(path: Path) -> Any:
    """Returns the object of a file in PyTorch's tar form.

    Raises:
        RequestError: It is a tar archive of something else.
        StorageError: It is damaged.
        RefusedGlobal: It names what would have to be executed.
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            names = archive.getnames()
            if not set(MEMBERS) <= set(names):
                some = ", ".join(names[:3])
                raise RequestError(f"{path}: is an archive of files ({some}), not a checkpoint; unpack it first")
            parts = [archive.extractfile(name) for name in MEMBERS]
            storages, tensors, last = [part for part in parts if part is not None]
            known = _tensors(tensors, _storages(storages))
            return _Unpickler(last, known).load()
    except (RefusedGlobal, RequestError):
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise StorageError(f"{path}: is a damaged or truncated PyTorch archive: {error}") from error


def _storages(file: IO[bytes]) -> dict[int, Tensor]:
    """Returns flat tensors by the number of their storage, those of views into others as well."""
    found: dict[int, Tensor] = {}
    for _ in range(_Unpickler(file, {}).load()):
        key, _, dtype = _Unpickler(file, {}).load()
        (count,) = struct.unpack("<q", _exactly(file, 8))
        raw = bytearray(_exactly(file, count * dtype.itemsize))
        found[int(key)] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    for key, root, offset, count in _Unpickler(file, {}).load():
        found[int(key)] = found[int(root)][offset : offset + count]
    return found


def _tensors(file: IO[bytes], storages: dict[int, Tensor]) -> dict[int, Any]:
    found: dict[int, Any] = dict(storages)
    for _ in range(_Unpickler(file, {}).load()):
        key, storage, _ = _Unpickler(file, {}).load()
        dimensions, _ = struct.unpack("<ii", _exactly(file, 8))
        if not 0 <= dimensions <= 64:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        size = struct.unpack(f"<{dimensions}q", _exactly(file, 8 * dimensions))
        stride = struct.unpack(f"<{dimensions}q", _exactly(file, 8 * dimensions))
        (offset,) = struct.unpack("<q", _exactly(file, 8))
        flat = storages[int(storage)]
        found[int(key)] = flat.as_strided(size, stride, flat.storage_offset() + offset)
    return found


def _exactly(file: IO[bytes], count: int) -> bytes:
    raw = file.read(count) if count >= 0 else b""
    if len(raw) != count:
        raise EOFError(f"{count} bytes were announced, {len(raw)} are there")
    return raw
