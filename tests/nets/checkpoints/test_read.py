"""Files of every form are read, none executes anything, and what is no checkpoint is named."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from coretune.errors import RequestError, StorageError
from coretune.nets.checkpoints import read_checkpoint
from coretune.nets.checkpoints.inert import Inert

STATE = OrderedDict(
    {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "norm.bias": torch.ones(2), "n": torch.tensor(7)}
)


class Command:
    """What a malicious file holds: reading it would run a shell."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Evaluated:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1 + 1",)


def same(found: Any, wanted: Any = STATE) -> bool:
    return list(found) == list(wanted) and all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(("zipped", "form"), [(True, "PyTorch zip"), (False, "PyTorch pickle")])
def test_both_forms_of_torch(tmp_path: Path, zipped: bool, form: str) -> None:
    saved = {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}}
    torch.save(saved, tmp_path / "w", _use_new_zipfile_serialization=zipped)
    contents = read_checkpoint(tmp_path / "w")
    assert contents.form == form
    assert list(contents.sections) == ["state_dict"] and same(contents.sections["state_dict"])
    assert contents.extras == ("epoch", "optimizer")


def test_safetensors(tmp_path: Path) -> None:
    save_file(dict(STATE), tmp_path / "w", metadata={"format": "pt"})
    contents = read_checkpoint(tmp_path / "w")
    assert contents.form == "safetensors" and contents.metadata == {"format": "pt"}
    assert set(contents.sections[""]) == set(STATE)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_scripts_put_beside_is_skipped(tmp_path: Path, zipped: bool) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=[1])),
        "best": np.float64(91.5),
        "count": np.int64(3),
        "history": np.arange(3.0),
        "output": Path("/tmp/x"),
        "config": {"args": argparse.Namespace()},
    }
    torch.save({"model": STATE, **beside}, tmp_path / "w", _use_new_zipfile_serialization=zipped)
    contents = read_checkpoint(tmp_path / "w")
    assert same(contents.sections["model"]) and contents.extras == tuple(beside)


def test_parameters_and_nested_dictionaries(tmp_path: Path) -> None:
    torch.save({"a": {"b": {"w": nn.Parameter(torch.ones(2))}}, "t": torch.zeros(1)}, tmp_path / "w")
    contents = read_checkpoint(tmp_path / "w")
    assert list(contents.sections) == ["", "a.b"]
    assert not contents.sections["a.b"]["w"].requires_grad


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_named_and_not_executed(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "executed"
    torch.save(
        {"state_dict": STATE, "x": Command(f"touch {mark}")}, tmp_path / "w", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(RequestError, match=rf"w: is refused: to read it, {os.system.__module__}\.system would have to"):
        read_checkpoint(tmp_path / "w")
    assert not mark.exists()


def test_a_whole_model_and_builtins_are_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model")
    with pytest.raises(RequestError, match=r"torch\.nn\.modules\.linear\.Linear would .* `model\.state_dict\(\)`"):
        read_checkpoint(tmp_path / "model")
    torch.save({"w": STATE, "x": Evaluated()}, tmp_path / "eval")
    with pytest.raises(RequestError, match="eval would have to be executed"):
        read_checkpoint(tmp_path / "eval")


def test_reading_allows_nothing_for_others(tmp_path: Path) -> None:
    torch.save({"w": STATE, "args": argparse.Namespace()}, tmp_path / "w")
    read_checkpoint(tmp_path / "w")
    with pytest.raises(pickle.UnpicklingError, match="Namespace"):
        torch.load(tmp_path / "w", weights_only=True)


def test_an_inert_object_keeps_nothing() -> None:
    made = Inert(1, b=2)
    made.__setstate__({"c": 3})
    assert vars(made) == {}
    with pytest.raises(TypeError):
        pickle.dumps(made)


def tar_file(path: Path, value: Any, tensors: list[Tensor], *, cut: int = 0, view: bool = False) -> None:
    """Writes what PyTorch 0.1 wrote: storages, then tensors that name them by number, then the object.

    With `view` the last tensor's storage is a part of the first's.
    """
    storages, described, last = io.BytesIO(), io.BytesIO(), io.BytesIO()
    own = tensors[:-1] if view else tensors
    pickle.dump(len(own), storages, 2)
    for number, tensor in enumerate(own):
        pickle.dump((number, "cpu", torch.FloatStorage), storages, 2)
        storages.write(struct.pack("<q", tensor.numel()) + tensor.contiguous().numpy().tobytes())
    pickle.dump([(len(own), 0, 2, tensors[-1].numel())] if view else [], storages, 2)
    pickle.dump(len(tensors), described, 2)
    for number, tensor in enumerate(tensors):
        pickle.dump((100 + number, number, torch.FloatTensor), described, 2)
        described.write(struct.pack("<ii", tensor.ndim, 0))
        described.write(struct.pack(f"<{2 * tensor.ndim + 1}q", *tensor.shape, *tensor.contiguous().stride(), 0))

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: object) -> str | None:
            return next((str(100 + i) for i, tensor in enumerate(tensors) if item is tensor), None)

    Pickler(last, 2).dump(value)
    with tarfile.open(path, "w") as archive:
        for name, file in (
            ("sys_info", io.BytesIO()),
            ("pickle", last),
            ("tensors", described),
            ("storages", storages),
        ):
            content = file.getvalue()[: len(file.getvalue()) - (cut if name == "storages" else 0)]
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_the_oldest_form_of_torch(tmp_path: Path) -> None:
    one, two, three = torch.arange(6.0).reshape(2, 3), torch.tensor([5.0]), torch.arange(2.0, 5.0)
    value = {"state_dict": OrderedDict(a=one, b=two, c=three), "args": argparse.Namespace(x=1), "epoch": 1}
    tar_file(tmp_path / "w.pth.tar", value, [one, two, three], view=True)
    contents = read_checkpoint(tmp_path / "w.pth.tar")
    assert contents.form == "PyTorch tar" and contents.extras == ("args", "epoch")
    assert same(contents.sections["state_dict"], {"a": one, "b": two, "c": three})


def test_an_old_archive_is_refused_as_others_are(tmp_path: Path) -> None:
    one, mark = torch.ones(4), tmp_path / "executed"
    tar_file(tmp_path / "bad", {"a": one, "x": Command(f"touch {mark}")}, [one])
    with pytest.raises(RequestError, match=r"\.system would have to be executed"):
        read_checkpoint(tmp_path / "bad")
    assert not mark.exists()
    tar_file(tmp_path / "short", {"a": one}, [one], cut=20)
    with pytest.raises(StorageError, match="damaged or truncated PyTorch archive"):
        read_checkpoint(tmp_path / "short")


def test_an_archive_of_files(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"x")
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        archive.add(tmp_path / "model.pth", "model.pth")
    with pytest.raises(RequestError, match=r"an archive of files \(model\.pth\), not a checkpoint; unpack it"):
        read_checkpoint(tmp_path / "w.tar")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("write", ["zip", "pickle", "safetensors"])
def test_truncated_files(tmp_path: Path, write: str, share: float) -> None:
    state = {f"layer{index}.weight": torch.rand(50) for index in range(50)}
    if write == "safetensors":
        save_file(state, tmp_path / "w")
    else:
        torch.save(state, tmp_path / "w", _use_new_zipfile_serialization=write == "zip")
    content = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StorageError, match=r"w: is (damaged, truncated|no whole safetensors)"):
        read_checkpoint(tmp_path / "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", r"Git LFS pointer; .*git lfs pull"),
        (b"\n<!DOCTYPE html><html>log in</html>", "an HTML page, not the file"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"hello", "it begins with b'hello'"),
        (b"PK\x03\x04" + bytes(40), "damaged, truncated, or no file of PyTorch"),
        (pickle.dumps({"a": 1}, protocol=2), "no file of PyTorch"),
        (pickle.dumps({"a": 1}, protocol=4), r"another protocol than torch's own, 2$"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(StorageError, match=message):
        read_checkpoint(tmp_path / "w")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_a_pickle_of_any_protocol_would_execute_is_named(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "w").write_bytes(pickle.dumps({"a": Command(f"touch {tmp_path}/x")}, protocol=protocol))
    with pytest.raises(RequestError, match=r"posix\.system would have to be executed"):
        read_checkpoint(tmp_path / "w")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("make", [dict, lambda: [torch.ones(1)], lambda: {"epoch": 3, "x": {1: torch.ones(1)}}])
def test_no_tensors_by_name(tmp_path: Path, make: Callable[[], Any]) -> None:
    torch.save(make(), tmp_path / "w")
    with pytest.raises(RequestError, match="holds no tensors by name"):
        read_checkpoint(tmp_path / "w")


def test_absent_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(StorageError):
            read_checkpoint(path)
