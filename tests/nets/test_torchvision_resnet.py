"""torchvision's residual nets: the same weights from a seed, the same features, and the stem for small images."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from coretune.nets import torchvision_resnet
from coretune.nets.torchvision_resnet import resnet18
from coretune.spec.catalog.backbones import ResNetParameters

torch.set_num_threads(1)


def test_features_are_what_torchvision_feeds_its_classifier() -> None:
    ours = resnet18(ResNetParameters()).eval()
    theirs = models.resnet18(weights=None).eval()
    report = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert (report.missing_keys, report.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    images = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(ours(images)), theirs(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_seed_gives_torchvision_s_weights_features_and_gradients_to_the_bit(name: str) -> None:
    """Runs that are recorded were trained so."""
    torch.manual_seed(3)
    ours = getattr(torchvision_resnet, name)(ResNetParameters())
    torch.manual_seed(3)
    theirs = getattr(models, name)(weights=None)
    theirs.fc = nn.Identity()
    assert [key for key, _ in ours.named_parameters()] == [key for key, _ in theirs.named_parameters()]
    images = torch.rand(3, 3, 40, 40)
    found = [net(images) for net in (ours, theirs)]
    assert torch.equal(*found)
    for features in found:
        features.square().sum().backward()
    assert all(
        torch.equal(one.grad, other.grad) for one, other in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


def test_the_stem_for_small_images_keeps_the_resolution() -> None:
    torch.manual_seed(0)
    net = resnet18(ResNetParameters(stem="cifar")).eval()
    assert net.stem(torch.rand(1, 3, 32, 32)).shape == (1, 64, 32, 32)
    assert set(net.state_dict()) == set(resnet18(ResNetParameters()).state_dict())
    assert net.conv1.weight.shape == (64, 3, 3, 3)
    assert float(net.conv1.weight.detach().std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)
    assert [level.stride for level in net.levels] == [1, 2, 4, 8]
