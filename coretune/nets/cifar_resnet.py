"""The residual nets for images of 32 pixels, of 20 to 110 layers."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from coretune.nets.backbone import Level, LevelledBackbone
from coretune.spec.catalog.backbones import CifarResNetParameters, ShortcutParameters

WIDTHS = (16, 32, 64)


class CifarResNet(LevelledBackbone):
    """ResNet of 6m + 2 layers (He et al., CVPR 2016, section 4.2): a 3×3 stem and three layers of m basic blocks.

    The layers have 16, 32 and 64 channels; the second and the third start with stride 2. Features (n, 64) are globally
    averaged. Convolutions start from He's normal distribution (fan in). State-dict keys are those of
    akamaster/pytorch_resnet_cifar10 but for `linear.*`.

    Args:
        params: Depth 6m + 2, and the shortcut where the shape changes.
    """

    def __init__(self, params: CifarResNetParameters) -> None:
        super().__init__()
        self.features = WIDTHS[-1]
        self.input_size = 32
        self.levels = tuple(Level(f"layer{i + 1}", width, 2**i) for i, width in enumerate(WIDTHS))
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        before = WIDTHS[0]
        for level in self.levels:
            stride = level.channels // before
            blocks = [CifarBlock(before, level.channels, stride, params.shortcut)]
            while len(blocks) < (params.depth - 2) // 6:
                blocks.append(CifarBlock(level.channels, level.channels, 1, params.shortcut))
            self.add_module(level.name, nn.Sequential(*blocks))
            before = level.channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def stem(self, images: Tensor) -> Tensor:
        """Returns (n, 16, H, W) >= 0."""
        return functional.relu(self.bn1(self.conv1(images)))


class CifarBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, and a shortcut.

    Args:
        before: Channels of the input.
        after: Channels of the output.
        stride: Of the first convolution and of the shortcut.
        shortcut: Where the shape changes: A, or B (1×1 convolution and batch norm).
    """

    def __init__(self, before: int, after: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = PaddedShortcut(after - before, stride)
            if shortcut == "B":
                self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns (n, after, H / stride, W / stride) of (n, before, H, W)."""
        inner = functional.relu(self.bn1(self.conv1(hidden)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(hidden))


class PaddedShortcut(nn.Module):
    """Option A: every stride-th position, and empty channels, half of them before and half behind; no parameters.

    Args:
        added: Number of empty channels, even.
        stride: Of the positions.
    """

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.side = added // 2
        self.stride = stride

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns (n, C + added, ⌈H / stride⌉, ⌈W / stride⌉) of (n, C, H, W)."""
        return functional.pad(hidden[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.side, self.side))


def _of_depth(depth: int, params: ShortcutParameters) -> CifarResNet:
    return CifarResNet(CifarResNetParameters.model_validate({"depth": depth, "shortcut": params.shortcut}))


resnet20 = partial(_of_depth, 20)
resnet32 = partial(_of_depth, 32)
resnet44 = partial(_of_depth, 44)
resnet56 = partial(_of_depth, 56)
resnet110 = partial(_of_depth, 110)
