"""Every project's layout is recognised, and the features are those of the network that was saved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from support.checkpoints import LAYOUTS, below, features, linear, moco, narrow, pycontrast

from coretune.nets.checkpoints import Contents, read_checkpoint, recognise
from coretune.nets.checkpoints import layouts as table
from coretune.nets.weights import load_encoder, save_weights

torch.set_num_threads(1)


@pytest.mark.parametrize("what", LAYOUTS)
def test_a_projects_file_is_recognised_and_loaded(tmp_path: Path, what: str) -> None:
    name, prefix, save = LAYOUTS[what]
    net = narrow()
    torch.save(save(net.state_dict()), tmp_path / "w.pth")
    found = recognise(read_checkpoint(tmp_path / "w.pth"))
    assert (found.layout.name, found.prefix) == (name, prefix)
    assert set(found.tensors) == set(net.state_dict())
    fresh = narrow(1)
    assert not torch.equal(features(fresh), features(net))
    load_encoder(fresh, tmp_path / "w.pth")
    assert torch.equal(features(fresh), features(net))


@pytest.mark.parametrize("what", ["moco v2", "byol, sthalles", "coretune"])
def test_a_bottleneck_network(tmp_path: Path, what: str) -> None:
    net = narrow(bottleneck=True)
    torch.save(LAYOUTS[what][2](net.state_dict()), tmp_path / "w.pth")
    fresh = narrow(1, bottleneck=True)
    load_encoder(fresh, tmp_path / "w.pth")
    assert torch.equal(features(fresh), features(net))


def test_what_is_dropped_is_named_and_counted() -> None:
    state = narrow().state_dict()
    saved = moco(state, mlp=True)
    found = recognise(Contents("PyTorch zip", {"state_dict": saved["state_dict"]}))
    assert found.dropped == {"projection head": 4, "momentum encoder": len(state) + 4, "queue of negatives": 2}
    assert sum(found.dropped.values()) + len(found.tensors) == len(saved["state_dict"])
    assert "'module.encoder_q.'" in found.how and "'state_dict'" in found.how


def test_every_tensor_is_kept_or_dropped(tmp_path: Path) -> None:
    state = narrow().state_dict()
    for what, (_, _, save) in LAYOUTS.items():
        torch.save(save(state), tmp_path / "w")
        contents = read_checkpoint(tmp_path / "w")
        found = recognise(contents)
        total = sum(len(tensors) for tensors in contents.sections.values())
        assert sum(found.dropped.values()) + len(found.tensors) == total, what


def test_the_trained_network_is_taken_and_not_its_average(tmp_path: Path) -> None:
    saved = pycontrast(narrow().state_dict(), linear("head.0"), ema=True)
    backwards = dict(reversed(saved.items()))
    torch.save(backwards, tmp_path / "w")
    assert recognise(read_checkpoint(tmp_path / "w")).section == "model"


def test_a_runs_own_names_are_left_alone(tmp_path: Path) -> None:
    state = below("encoder.module.", narrow().state_dict()) | {"normalise.mean": torch.zeros(3, 1, 1)}
    save_weights(state, tmp_path / "w.safetensors", {})
    found = recognise(read_checkpoint(tmp_path / "w.safetensors"))
    assert (found.layout.name, found.prefix) == ("coretune", "encoder.")
    assert all(key.startswith("module.") for key in found.tensors)


def test_what_nobody_wrote_is_taken_as_it_is() -> None:
    contents = Contents("safetensors", {"": {"a.weight": torch.zeros(2), "head.weight": torch.zeros(2)}})
    found = recognise(contents)
    assert (found.layout.name, list(found.tensors), found.dropped) == ("unknown", ["a.weight"], {"classifier": 1})


def test_the_table_is_sound() -> None:
    for layout in table.LAYOUTS:
        assert layout.prefixes and layout.source
        for pattern in (*layout.marks, *(pattern for pattern, _ in layout.dropped)):
            re.compile(pattern)
    assert table.LAYOUTS[-1].prefixes == ("",) and not table.LAYOUTS[-1].marks
    described = table.__doc__ or ""
    projects = {name for layout in table.LAYOUTS for name in re.findall(r"\b[\w-]+/[\w-]+(?=:)", layout.source)}
    assert len(projects) > 10 and all(name in described for name in projects)


def test_the_real_cifar_resnet(real_data: Path) -> None:
    contents = read_checkpoint(real_data / "checkpoints" / "resnet20-12fca82f.th")
    found = recognise(contents)
    assert contents.form == "PyTorch pickle" and contents.extras == ("best_prec1",)
    assert (found.layout.name, found.section, found.prefix) == ("cifar_resnet", "state_dict", "module.")
    assert found.dropped == {"classifier": 2}
    assert found.parameters == 269_072  # 269,722 with the linear layer of 64 × 10 + 10
