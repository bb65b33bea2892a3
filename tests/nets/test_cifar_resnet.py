"""The residual nets for images of 32 pixels: the paper's sizes, both shortcuts, and weights that others trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from coretune.data.source import TEST
from coretune.data.sources.cifar10 import cifar10
from coretune.nets import cifar_resnet
from coretune.nets.cifar_resnet import CifarResNet, PaddedShortcut
from coretune.nets.model import Model
from coretune.spec.catalog.backbones import CifarResNetParameters, ShortcutParameters
from coretune.spec.components import NoParameters

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)], ids=lambda value: str(value)
)
def test_depths_and_numbers_of_parameters_are_the_paper_s(depth: int, millions: float) -> None:
    """Table 6 of He et al., with the classifier of 10 classes."""
    net = getattr(cifar_resnet, f"resnet{depth}")(ShortcutParameters())
    count = sum(parameter.numel() for parameter in net.parameters()) + 64 * 10 + 10
    assert count / 1e6 == pytest.approx(millions, abs=0.05 if depth == 110 else 0.006)
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == depth - 1


def test_option_a_takes_every_second_position_and_adds_empty_channels_on_both_sides() -> None:
    hidden = torch.rand(2, 4, 5, 6)
    found = PaddedShortcut(4, 2)(hidden)
    expected = torch.zeros(2, 8, 3, 3)
    for sample in range(2):
        for channel in range(4):
            for row in range(3):
                for column in range(3):
                    expected[sample, 2 + channel, row, column] = hidden[sample, channel, 2 * row, 2 * column]
    assert torch.equal(found, expected)


def test_option_b_projects_where_the_shape_changes() -> None:
    plain, projected = (
        CifarResNet(CifarResNetParameters(depth=32, shortcut=option)).state_dict() for option in ("A", "B")
    )
    assert set(plain) < set(projected)
    added = {key for key in projected if key.endswith("weight")} - set(plain)
    assert added == {f"layer{i}.0.shortcut.{j}.weight" for i in (2, 3) for j in (0, 1)}
    assert projected["layer3.0.shortcut.0.weight"].shape == (64, 32, 1, 1)


def test_a_name_with_a_depth_is_the_net_of_this_depth() -> None:
    torch.manual_seed(0)
    named = cifar_resnet.resnet44(ShortcutParameters(shortcut="B"))
    torch.manual_seed(0)
    plain = CifarResNet(CifarResNetParameters(depth=44, shortcut="B"))
    assert named.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in named.state_dict().items())


@pytest.mark.parametrize(
    "params", [{"depth": 21}, {"depth": 1202}, {"depth": "20"}, {"shortcut": "C"}, {"depth": True}]
)
def test_other_nets_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CifarResNetParameters.model_validate(params)


@pytest.mark.slow
def test_weights_that_others_trained_are_as_good_here(real_data: Path) -> None:
    """akamaster's ResNet-20, on the whole test set: its author found an error of 8.27 %."""
    file = real_data / "checkpoints" / "resnet20-12fca82f.th"
    if not file.is_file() or not (real_data / "cifar10").is_dir():
        pytest.skip(f"no CIFAR-10 or no {file.name} in {real_data}")
    stored = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    state = {key.removeprefix("module."): value for key, value in stored.items()}
    linear = nn.Linear(64, 10)
    linear.load_state_dict({name: state.pop(f"linear.{name}") for name in ("weight", "bias")})
    net = cifar_resnet.resnet20(ShortcutParameters())
    assert {key for key in net.state_dict() if not key.endswith("num_batches_tracked")} == state.keys()
    net.load_state_dict(state, strict=False)
    model = Model(net, linear, net.mean, net.std).eval()
    source = cifar10(real_data / "cifar10", NoParameters())
    test = np.flatnonzero(source.parts == TEST)
    assert len(test) == 10_000
    right = 0
    for chunk in np.split(test, 20):
        images = torch.from_numpy(np.stack([source.image(int(index)) for index in chunk])).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            predicted = model(images).argmax(1)
        right += int((predicted == torch.from_numpy(source.labels[chunk])).sum())
    assert right / len(test) == pytest.approx(0.9173, abs=0.001)
