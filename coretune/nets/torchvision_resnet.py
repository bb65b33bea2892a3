"""torchvision's residual nets without their classifiers, from random weights."""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet
from torchvision.models import resnet18 as torchvision_resnet18
from torchvision.models import resnet50 as torchvision_resnet50

from coretune.spec.frozen import Frozen


def resnet18(params: Frozen) -> nn.Module:
    """Returns ResNet-18: images (n, 3, H, W) → features (n, 512); it has no parameters."""
    return _headless(torchvision_resnet18(weights=None))


def resnet50(params: Frozen) -> nn.Module:
    """Returns ResNet-50: images (n, 3, H, W) → features (n, 2048); it has no parameters."""
    return _headless(torchvision_resnet50(weights=None))


def _headless(net: ResNet) -> nn.Module:
    encoder: nn.Module = net
    encoder.features = net.fc.in_features
    encoder.fc = nn.Identity()
    return encoder
