"""Rises of the loss without a channel, against whole forward passes channel by channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import TinyNet
from torch import Tensor, nn

from coretune.nets.cifar_resnet import resnet20
from coretune.nets.small_resnet import SmallResNet
from coretune.spec.catalog.backbones import ShortcutParameters, SmallResNetParameters
from coretune.tuning.ablation import channel_rises
from coretune.tuning.feature_maps import channels_of, stage_ends

torch.set_num_threads(1)


class Twisted(nn.Module):
    """A block that runs twice, one that works in place, and a way around everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 5, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        begun = self.first(images)
        hidden = self.norm(self.twice(self.twice(begun).relu()))
        hidden.relu_().mul_(2)
        maps = self.last(hidden + begun)
        return torch.cat([maps.mean((2, 3)), begun.amax((2, 3)), images.mean((2, 3))], dim=1)


def small() -> nn.Module:
    return SmallResNet(SmallResNetParameters(widths=(2, 3, 4)))


def twenty() -> nn.Module:
    return resnet20(ShortcutParameters())


def made(make: Callable[[], nn.Module], size: int, side: int = 8) -> tuple[nn.Module, Tensor, Tensor]:
    """A net in evaluation mode, with running statistics of its own; images; labels."""
    torch.manual_seed(0)
    net = make().double()
    images = torch.rand(size, 3, side, side, dtype=torch.float64)
    net.train()
    for _ in range(3):
        net(torch.rand(8, 3, side, side, dtype=torch.float64))
    return net.eval(), images, torch.arange(size) % 3


def sample_losses(net: nn.Module, images: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    width = net(images).shape[1]
    weight = torch.randn(3, width, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return lambda f: F.cross_entropy(f @ weight.T, labels.repeat(len(f) // len(labels)), reduction="none")


def literal(net: nn.Module, layers: dict[str, int], images: Tensor, losses: Callable[[Tensor], Tensor]) -> Tensor:
    """One whole forward pass per channel."""
    rows = []
    with torch.no_grad():
        plain = losses(net(images))
        for name, channels in layers.items():
            for channel in range(channels):

                def without(module: nn.Module, inputs: object, output: Tensor, channel: int = channel) -> Tensor:
                    mask = torch.ones(output.shape[1], dtype=output.dtype)
                    mask[channel] = 0
                    return output * mask[:, None, None]

                handle = net.get_submodule(name).register_forward_hook(without)
                rows.append(losses(net(images)) - plain)
                handle.remove()
    return torch.stack(rows)


@pytest.mark.parametrize("make", [small, twenty, TinyNet, Twisted])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_rises_equal_those_of_whole_passes(make: Callable[[], nn.Module], rows: int) -> None:
    net, images, labels = made(make, 3)
    layers = channels_of(net, stage_ends(net, 4))
    losses = sample_losses(net, images, labels)
    found = list(channel_rises(net, net, layers, images, losses, rows))
    assert all(len(part) <= max(1, rows // 3) for part in found)
    expected = literal(net, layers, images, losses)
    torch.testing.assert_close(torch.cat(found), expected, rtol=1e-9, atol=1e-12)
    assert float(expected.abs().max()) > 1e-4


@settings(max_examples=15)
@given(size=st.integers(1, 5), rows=st.integers(1, 40), layers=st.integers(1, 3))
def test_the_division_into_batches_does_not_matter(size: int, rows: int, layers: int) -> None:
    net, images, labels = made(small, size)
    found_layers = channels_of(net, stage_ends(net, layers))
    losses = sample_losses(net, images, labels)
    found = torch.cat(list(channel_rises(net, net, found_layers, images, losses, rows)))
    torch.testing.assert_close(found, literal(net, found_layers, images, losses), rtol=1e-9, atol=1e-12)


def test_only_what_follows_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images, labels = made(twenty, 2)
    layers = channels_of(net, stage_ends(net, 1))
    losses = sample_losses(net, images, labels)
    names = {module: name for name, module in net.named_modules()}
    calls: Counter[str] = Counter()
    convolve = nn.Conv2d.forward

    def counted(module: nn.Conv2d, values: Tensor) -> Tensor:
        calls[names[module]] += 1
        return convolve(module, values)

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    list(channel_rises(net, net, layers, images, losses, 2))
    assert list(layers) == ["layer3.2.conv2"]
    assert {name for name, count in calls.items() if count > 1} == {"layer3.2.conv1", "layer3.2.conv2"}
    assert calls["layer3.2.conv2"] == 1 + 64 and calls["conv1"] == calls["layer3.1.conv2"] == 1


def test_the_net_is_left_as_it_was() -> None:
    net, images, labels = made(small, 3)
    before, hooks = net(images), [len(module._forward_hooks) for module in net.modules()]
    parts = channel_rises(net, net, channels_of(net, stage_ends(net, 2)), images, sample_losses(net, images, labels), 6)
    next(parts)
    assert torch.equal(net(images), before), "also while it is looked at"
    list(parts)
    assert torch.equal(net(images), before)
    assert [len(module._forward_hooks) for module in net.modules()] == hooks
    assert not any("forward" in vars(module) for module in net.modules())


def test_it_is_left_as_it_was_after_an_error() -> None:
    net, images, labels = made(small, 3)
    before, good = net(images), sample_losses(net, images, labels)

    def fails(features: Tensor) -> Tensor:
        if len(features) > 3:
            raise ValueError("stop")
        return good(features)

    with pytest.raises(ValueError, match="stop"):
        list(channel_rises(net, net, channels_of(net, stage_ends(net, 2)), images, fails, 6))
    assert torch.equal(net(images), before) and not any("forward" in vars(module) for module in net.modules())
