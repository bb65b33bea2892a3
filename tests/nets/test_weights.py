from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from coretune.errors import RequestError, StorageError
from coretune.nets.model import Model
from coretune.nets.small_resnet import SmallResNet
from coretune.nets.weights import load_encoder, load_weights, save_weights
from coretune.spec.catalog.backbones import SmallResNetParameters

torch.set_num_threads(1)


def net(*widths: int) -> SmallResNet:
    return SmallResNet(SmallResNetParameters(widths=widths or (4, 8)))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Model, Path]:
    model = Model(net(), nn.Linear(8, 3))
    path = tmp_path / "model.safetensors"
    save_weights(model.state_dict(), path, {"run": "0123", "τ": "0.07"})
    return model, path


def test_what_is_saved_comes_back_bit_for_bit(saved: tuple[Model, Path]) -> None:
    model, path = saved
    state, metadata = load_weights(path)
    assert metadata == {"run": "0123", "τ": "0.07"}
    assert set(state) == set(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(state[key], value)
        assert state[key].dtype == value.dtype


def test_tensors_that_share_memory_or_are_strided(tmp_path: Path) -> None:
    table = torch.arange(12.0).view(3, 4)
    parameter = nn.Parameter(table[1])
    channels_last = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    state = {"a": table, "b": table.t(), "c": parameter, "d": channels_last, "e": torch.tensor(3)}
    save_weights(state, tmp_path / "w", {})
    found, metadata = load_weights(tmp_path / "w")
    assert metadata == {}
    for key, value in state.items():
        assert torch.equal(found[key], value)


def test_saving_replaces_atomically_and_leaves_nothing_beside(saved: tuple[Model, Path]) -> None:
    _, path = saved
    save_weights({"x": torch.zeros(1)}, path, {})
    assert list(load_weights(path)[0]) == ["x"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_encoder_alone_is_loaded(saved: tuple[Model, Path]) -> None:
    model, path = saved
    fresh = net()
    load_encoder(fresh, path)
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ((4,), r"18 unexpected: blocks\.1\."),
        ((4, 8, 16), r"18 missing: blocks\.2\.conv1\.weight, .* and 13 more"),
        ((4, 6), r"of another shape: blocks\.1\.conv1\.weight \(8, 4, 3, 3\) in the file, \(6, 4, 3, 3\) here"),
    ],
)
def test_another_architecture_is_refused_and_nothing_changes(
    saved: tuple[Model, Path], widths: tuple[int, ...], message: str
) -> None:
    fresh = net(*widths)
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    with pytest.raises(RequestError, match=message):
        load_encoder(fresh, saved[1])
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())


def test_a_file_without_encoder_is_refused(tmp_path: Path) -> None:
    save_weights({"layer.weight": torch.zeros(2)}, tmp_path / "w", {})
    with pytest.raises(RequestError, match=r"0 of 30 tensors match .* not in the backbone: layer\.weight"):
        load_encoder(net(), tmp_path / "w")


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated_files_are_refused(saved: tuple[Model, Path], keep: int) -> None:
    _, path = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StorageError, match=r"model\.safetensors: is no whole safetensors file"):
        load_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>log in</html>", "HTML page"),
        (b"PK\x03\x04" + b"\0" * 100, "PyTorch checkpoint"),
        (b"\x10\0\0\0\0\0\0\0not json at all!", "no whole safetensors file"),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(StorageError, match=message):
        load_weights(tmp_path / "w")


def test_absent_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent: .*No such file"):
        load_weights(tmp_path / "absent")
    with pytest.raises(StorageError):
        load_weights(tmp_path)


def test_an_unwritable_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/w: "):
        save_weights({"x": torch.zeros(1)}, tmp_path / "file" / "w", {})
