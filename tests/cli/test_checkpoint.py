"""`coretune checkpoint inspect | convert`, as a person types them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import LAYOUTS, linear, moco
from torch import Tensor

from coretune.nets.small_resnet import SmallResNet
from coretune.nets.weights import load_encoder, load_weights, save_weights
from coretune.results.contents import contents_of
from coretune.results.provenance import CONTENTS, TRAINED_ON, Provenance, as_metadata, provenance
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.components import Ref
from coretune.spec.run import DataSpec

torch.set_num_threads(1)


def small(*widths: int) -> SmallResNet:
    return SmallResNet(SmallResNetParameters(widths=widths) if widths else SmallResNetParameters())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """MoCo v2 around the catalog's small_resnet."""
    torch.save(moco(dict(small().state_dict()), mlp=True), tmp_path / "moco.pth.tar")
    return tmp_path / "moco.pth.tar"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    from coretune_cli.main import main

    code = main([str(word) for word in ("checkpoint", *words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_inspect_says_what_a_file_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", path, "--arch", "small_resnet")
    assert (code, err) == (0, "")
    for text in (
        "moco_v2 (or PCL v2",
        "module.encoder_q.",
        "facebookresearch/moco",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        "small_resnet of widths [32, 64, 256]",
        "queue of negatives",
        "epoch, arch, optimizer",
        "45 of 45 tensors match (100 %)",
    ):
        assert text in out


def test_inspect_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", path, "--arch", "small_resnet", "--json")
    value = json.loads(out)
    assert code == 0 and value["layout"] == "moco_v2" and value["match"]["fits"] is True
    assert value["parameters"] == sum(parameter.numel() for parameter in small().parameters())
    assert value["dropped"]["projection head"] == 4
    assert "match" not in json.loads(run(capsys, "inspect", path, "--json")[1])


def test_inspect_of_another_architecture(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", path, "--arch", "resnet18", "--json")
    assert code == 2 and json.loads(out)["match"]["fits"] is False
    assert err == (
        f"coretune: {path}: is of another architecture than resnet18; "
        "the shapes suggest small_resnet of widths [32, 64, 256]\n"
    )


@pytest.mark.parametrize("words", [(), ("--arch", "small_resnet")])
def test_convert_writes_our_form_which_loads(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    out = tmp_path / "moco.safetensors"
    code, said, err = run(capsys, "convert", path, out, *words)
    assert (code, said) == (0, "") and f"written: {out} (54 tensors)" in err
    tensors, metadata = load_weights(out)
    assert all(key.startswith("encoder.") for key in tensors)
    assert metadata["layout"] == "moco_v2" and metadata["source"] == "moco.pth.tar"
    assert metadata["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert metadata.get("arch") == (words[1] if words else None)
    one, two = small(), small()
    load_encoder(one, path)
    result = load_encoder(two, out)
    assert result is not None and result.layout == "coretune (converted)"
    assert all(torch.equal(tensor, two.state_dict()[key]) for key, tensor in one.state_dict().items())
    assert "coretune (converted)" in run(capsys, "inspect", out)[1]


def test_convert_never_overwrites_unasked(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "w.safetensors"
    out.write_bytes(b"mine")
    code, _, err = run(capsys, "convert", path, out)
    assert code == 2 and err == f"coretune: {out} exists; --force replaces it\n" and out.read_bytes() == b"mine"
    assert run(capsys, "convert", path, out, "--force")[0] == 0 and len(load_weights(out)[0]) == 54
    code, _, err = run(capsys, "convert", path, path, "--force")
    assert code == 2 and "end its name in .safetensors" in err


def test_convert_refuses_another_architecture(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "convert", path, tmp_path / "w.safetensors", "--arch", "resnet18")
    assert code == 2 and len(err.splitlines()) == 2 and "The shapes suggest small_resnet" in err
    assert not (tmp_path / "w.safetensors").exists()


class Command:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "executed"
    torch.save({"w": torch.ones(1), "x": Command(mark)}, tmp_path / "bad")
    (tmp_path / "page").write_bytes(b"<!doctype html>")
    for name, code, text in (
        ("bad", 2, "system would have to be executed"),
        ("page", 3, "it is an HTML page"),
        ("gone", 3, "No such file"),
    ):
        found, out, err = run(capsys, "inspect", tmp_path / name)
        assert (found, out, len(err.splitlines())) == (code, "", 1) and text in err
    assert not mark.exists()
    code, _, err = run(capsys, "inspect", tmp_path / "gone", "--arch", "resnet19")
    assert code == 2 and "resnet18" in err and len(err.splitlines()) == 1


def test_the_real_cifar_resnet(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", real_data / "checkpoints" / "resnet20-12fca82f.th", "--json")
    value = json.loads(out)
    assert code == 0 and value["sha256"].startswith("12fca82f")
    assert value["layout"] == "cifar_resnet" and value["architecture"].startswith("CIFAR ResNet-20, 16 wide")


def test_every_layout_can_be_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state: dict[str, Tensor] = {"conv1.weight": torch.ones(4, 3, 7, 7), "bn1.running_mean": torch.ones(4)}
    state |= {"layer1.0.conv1.weight": torch.ones(4, 4, 3, 3)} | linear("layer2.0.conv1")
    for what, (layout, _, save) in LAYOUTS.items():
        torch.save(save(dict(state)), tmp_path / "w")
        code, out, _ = run(capsys, "inspect", tmp_path / "w", "--json")
        assert (code, json.loads(out)["layout"]) == (0, layout), what


def test_what_a_checkpoint_was_trained_on_stays_with_it_and_hashes_are_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataSpec(dataset=Ref(name="pacs", version=1), fingerprint="1" * 64, image_size=32, validation=0.2, test=0)
    known = Provenance().then(data, contents_of(["f" * 64], whole=True))
    first, second = tmp_path / "own.safetensors", tmp_path / "again.safetensors"
    save_weights({f"encoder.{key}": value for key, value in small().state_dict().items()}, first, as_metadata(known))
    assert run(capsys, "convert", first, second)[0] == 0
    assert provenance(second).seen[0].contents is not None
    said = json.loads(run(capsys, "inspect", second, "--json")[1])["metadata"]
    assert TRAINED_ON in said and CONTENTS not in said
