"""torchvision's residual nets without their classifiers, from random weights."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torchvision.models import ResNet, get_model

from coretune.nets.backbone import Level, LevelledBackbone
from coretune.spec.catalog.backbones import ResNetParameters


class TorchvisionResNet(LevelledBackbone):
    """ResNet (He et al., CVPR 2016), ResNeXt (Xie et al., CVPR 2017) or wide ResNet (Zagoruyko and Komodakis, 2016).

    State-dict keys are torchvision's but for `fc.*`. The stem is torchvision's (7×7 convolution of stride 2, max-pool),
    or for small images a 3×3 convolution of stride 1 without max-pool, as in SimCLR's and MoCo's nets for CIFAR.

    Args:
        name: Name in torchvision.
        params: The stem.
    """

    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module

    def __init__(self, name: str, params: ResNetParameters) -> None:
        super().__init__()
        net: ResNet = get_model(name, weights=None)
        self.features: int = net.fc.in_features
        for child, module in net.named_children():
            if child not in ("avgpool", "fc"):
                self.add_module(child, module)
        if params.stem == "cifar":
            self.input_size = 32
            conv = nn.Conv2d(3, net.conv1.out_channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            self.conv1, self.maxpool = conv, nn.Identity()
        first = 1 if params.stem == "cifar" else 4
        self.levels = tuple(
            Level(f"layer{i + 1}", self.features // 8 * 2**i, first * 2**i) for i in range(4)
        )  # each layer halves the resolution and doubles the channels

    def stem(self, images: Tensor) -> Tensor:
        """Returns (n, 64, H / 4, W / 4) with torchvision's stem, (n, 64, H, W) with the one for small images."""
        found: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return found


resnet18 = partial(TorchvisionResNet, "resnet18")
resnet34 = partial(TorchvisionResNet, "resnet34")
resnet50 = partial(TorchvisionResNet, "resnet50")
resnet101 = partial(TorchvisionResNet, "resnet101")
resnet152 = partial(TorchvisionResNet, "resnet152")
resnext50_32x4d = partial(TorchvisionResNet, "resnext50_32x4d")
resnext101_32x8d = partial(TorchvisionResNet, "resnext101_32x8d")
wide_resnet50_2 = partial(TorchvisionResNet, "wide_resnet50_2")
