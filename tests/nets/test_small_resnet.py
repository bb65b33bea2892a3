from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision.models.resnet import BasicBlock as Reference

from coretune.nets.small_resnet import BasicBlock, SmallResNet
from coretune.spec.catalog.backbones import SmallResNetParameters

torch.set_num_threads(1)


@pytest.mark.parametrize(("before", "after", "stride"), [(8, 8, 1), (8, 16, 2), (8, 16, 1), (8, 8, 2)])
def test_the_block_is_torchvision_s_basic_block(before: int, after: int, stride: int) -> None:
    ours = BasicBlock(before, after, stride)
    projection = None
    if stride != 1 or before != after:
        projection = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    theirs = Reference(before, after, stride, projection)
    renamed = {"norm": "bn", "shortcut": "downsample"}
    state = {}
    for key, value in ours.state_dict().items():
        for old, new in renamed.items():
            key = key.replace(old, new)
        state[key] = value
    theirs.load_state_dict(state, strict=True)
    images = torch.randn(4, before, 12, 12)
    torch.testing.assert_close(ours(images), theirs(images))
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("widths", [(32, 64, 256), (8,), (4, 8, 16, 32)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_shapes(widths: tuple[int, ...], stem_stride: int) -> None:
    net = SmallResNet(SmallResNetParameters(widths=widths, stem_stride=stem_stride))
    assert net.features == widths[-1]
    features = net(torch.rand(3, 3, 16, 16))
    assert features.shape == (3, net.features)
    assert features.min() >= 0  # after the last ReLU
    resolutions = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, inputs, output: resolutions.append(output.shape[-1]))
    net(torch.rand(2, 3, 32, 32))
    assert resolutions == [32 // stem_stride // 2**i for i in range(len(widths))]


def test_features_are_the_mean_over_positions_so_any_size_fits() -> None:
    net = SmallResNet(SmallResNetParameters(widths=(4, 6))).eval()
    for size in (16, 17, 33, 64):
        assert net(torch.rand(1, 3, size, size)).shape == (1, 6)
    assert net(torch.rand(1, 3, 16, 24)).shape == (1, 6)


def test_initial_weights_have_he_s_variance_and_follow_the_seed() -> None:
    def made(seed: int) -> SmallResNet:
        torch.manual_seed(seed)
        return SmallResNet(SmallResNetParameters())

    net, same, other = made(0), made(0), made(1)
    for key, value in net.state_dict().items():
        assert torch.equal(value, same.state_dict()[key])
    assert not torch.equal(net.conv.weight, other.conv.weight)
    weight = net.blocks[2].conv2.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert all(bool((m.weight == 1).all()) for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_every_parameter_gets_a_gradient() -> None:
    net = SmallResNet(SmallResNetParameters(widths=(4, 8)))
    net(torch.rand(8, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_no_width_is_refused() -> None:
    with pytest.raises(ValidationError):
        SmallResNetParameters(widths=())


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_a_seed_gives_the_same_weights_and_features_to_the_bit(stem_stride: int) -> None:
    """Those of runs that are recorded: its parts made one after another, convolutions drawn anew at the end."""
    torch.manual_seed(3)
    net = SmallResNet(SmallResNetParameters(widths=(4, 6, 8), stem_stride=stem_stride))
    torch.manual_seed(3)
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, stem_stride, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    blocks = nn.Sequential(BasicBlock(4, 4, 1), BasicBlock(4, 6, 2), BasicBlock(6, 8, 2))
    plain = nn.Sequential(stem, blocks)
    for module in plain.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    renamed = {"0.0.": "conv.", "0.1.": "norm.", "1.": "blocks."}
    expected = {}
    for key, value in plain.state_dict().items():
        old = next(prefix for prefix in renamed if key.startswith(prefix))
        expected[renamed[old] + key.removeprefix(old)] = value
    assert list(net.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())
    images = torch.rand(3, 3, 16, 16)
    assert torch.equal(net(images), plain(images).mean((2, 3)))
