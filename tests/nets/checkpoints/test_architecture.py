from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from coretune.nets.checkpoints import architecture, read_checkpoint, recognise
from coretune.nets.checkpoints.vit import ours_of
from coretune.nets.small_resnet import SmallResNet
from coretune.spec.catalog.backbones import SmallResNetParameters

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d")


def meta(make: Callable[..., nn.Module]) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return dict(make().state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_resnets(name: str) -> None:
    assert architecture(meta(models.__dict__[name])) == name


@pytest.mark.parametrize(
    ("name", "label"), [("vit_b_16", "ViT-B/16"), ("vit_b_32", "ViT-B/32"), ("vit_l_16", "ViT-L/16")]
)
def test_vision_transformers_by_both_names(name: str, label: str) -> None:
    state = meta(models.__dict__[name])
    assert architecture(state) == label
    assert architecture({ours_of(key): tensor for key, tensor in state.items()}) == label


def test_a_small_vision_transformer() -> None:
    state = {"patch_embed.proj.weight": torch.empty(384, 3, 16, 16, device="meta")}
    blocks = {f"blocks.{index}.norm1.weight": torch.empty(384, device="meta") for index in range(12)}
    assert architecture(state | blocks) == "ViT-S/16"
    del blocks["blocks.11.norm1.weight"]
    assert architecture(state | blocks) == "a ViT of 11 blocks, 384 wide, with patches of 16"


def test_other_stems_and_depths() -> None:
    state = meta(models.resnet18)
    state["conv1.weight"] = torch.empty(64, 3, 3, 3, device="meta")
    assert architecture(state) == "resnet18 with a CIFAR stem"
    fewer = {key: tensor for key, tensor in state.items() if not key.startswith("layer4.1")}
    assert architecture(fewer) == "a ResNet of 2+2+2+1 basic blocks"


def test_small_resnet_and_nothing() -> None:
    assert (
        architecture(SmallResNet(SmallResNetParameters(widths=(4, 8))).state_dict()) == "small_resnet of widths [4, 8]"
    )
    assert architecture({"a.weight": torch.zeros(2)}) is None
    assert architecture({"conv1.weight": torch.zeros(2)}) is None


def test_the_real_cifar_resnet(real_data: Path) -> None:
    found = recognise(read_checkpoint(real_data / "checkpoints" / "resnet20-12fca82f.th"))
    assert architecture(found.tensors) == "CIFAR ResNet-20, 16 wide, shortcuts of option A"
    shortcut = {"layer2.0.shortcut.0.weight": torch.zeros(32, 16, 1, 1)}
    assert architecture({**found.tensors, **shortcut}) == "CIFAR ResNet-20, 16 wide, shortcuts of option B"
