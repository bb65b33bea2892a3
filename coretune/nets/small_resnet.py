"""A residual net for images of 16 to 64 pixels."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from coretune.nets.backbone import Level, LevelledBackbone
from coretune.spec.catalog.backbones import SmallResNetParameters


class SmallResNet(LevelledBackbone):
    """A 3×3 stem and one basic block (He et al., CVPR 2016) per width; features are globally averaged.

    The first block keeps the resolution, each later one halves it. Shortcuts are projections (1×1 convolution and
    batch norm, option B) where the shape changes. Convolutions start from He's normal distribution (fan out); the
    last scale of each block starts at 1, as in torchvision's default, not at 0.

    Args:
        params: Widths and the stride of the stem.
    """

    def __init__(self, params: SmallResNetParameters) -> None:
        super().__init__()
        widths = params.widths
        self.features = widths[-1]
        self.input_size = 32
        self.levels = tuple(Level(f"blocks.{i}", width, params.stem_stride * 2**i) for i, width in enumerate(widths))
        self.conv = nn.Conv2d(3, widths[0], 3, params.stem_stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        first = BasicBlock(widths[0], widths[0], stride=1)
        self.blocks = nn.Sequential(first, *(BasicBlock(before, after, stride=2) for before, after in pairwise(widths)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, images: Tensor) -> Tensor:
        """Returns (n, C, H / stride, W / stride) >= 0."""
        return functional.relu(self.norm(self.conv(images)))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, and a shortcut.

    Args:
        before: Channels of the input.
        after: Channels of the output.
        stride: Of the first convolution and of the shortcut.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns (n, after, H / stride, W / stride) of (n, before, H, W)."""
        inner = functional.relu(self.norm1(self.conv1(hidden)))
        return functional.relu(self.norm2(self.conv2(inner)) + self.shortcut(hidden))
