"""torchvision's segmentation heads, divided where Core-tuning needs it: maps to features, features to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.models.segmentation.lraspp import LRASPPHead

from coretune.errors import RequestError
from coretune.nets.backbone import Level
from coretune.spec.segmentation import SegmentationSpec

RATES = (6, 12, 18)
"""Atrous rates of DeepLabv3 at output stride 16 (Chen et al., section 4.1); at 8 they are twice as large."""
INTER = 128
"""Channels of LR-ASPP between the backbone and the classifier, as in torchvision."""


class DenseHead(nn.Module):
    """A head on a backbone's maps: penultimate features, and a classifier of them that is linear at each position.

    Attributes:
        features: Channels d of the penultimate features.
        classes: Number of classes C.
    """

    features: int
    classes: int
    side: nn.Module | None

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns the penultimate features (n, d, h, w) of the backbone's maps, finest first."""
        raise NotImplementedError(type(self).__name__)

    def classify(self, features: Tensor) -> Tensor:
        """Returns logits (N, C) of features (N, d), or (n, C, h, w) of (n, d, h, w)."""
        if features.ndim == 2:
            return self.logits(features[:, :, None, None]).flatten(1)
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """Returns logits (n, C, h, w) of features (n, d, h, w)."""
        raise NotImplementedError(type(self).__name__)

    def auxiliary(self, maps: Sequence[Tensor]) -> Tensor | None:
        """Returns the auxiliary head's logits of the last map but one, (n, C, h', w'), or None if there is none."""
        if self.side is None:
            return None
        found: Tensor = self.side(maps[-2])
        return found

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns logits (n, C, h, w) at the resolution of the features."""
        return self.logits(self.decode(maps))


class SequentialHead(DenseHead):
    """DeepLabv3's or FCN's head, whose last layer is the classifier.

    Args:
        net: torchvision's.
        classes: C.
    """

    def __init__(self, net: nn.Sequential, classes: int) -> None:
        super().__init__()
        last = net[-1]
        assert isinstance(last, nn.Conv2d)
        self.net = net
        self.features, self.classes, self.side = last.in_channels, classes, None

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns what the head computes of the last map, up to its classifier."""
        hidden = maps[-1]
        for layer in list(self.net)[:-1]:
            hidden = layer(hidden)
        return hidden

    def logits(self, features: Tensor) -> Tensor:
        """Returns what the last layer makes of them."""
        found: Tensor = self.net[-1](features)
        return found


class LrAspp(DenseHead):
    """LR-ASPP (Howard et al., ICCV 2019): the last map, gated, beside a finer one.

    Its two classifiers, whose logits are added, are one linear classifier of both maps side by side: these are the
    penultimate features.

    Args:
        levels: The backbone's, as they are now.
        low: Which of them is the finer one.
        classes: C.
    """

    def __init__(self, levels: Sequence[Level], low: int, classes: int) -> None:
        super().__init__()
        self.low = low
        self.net = LRASPPHead(levels[low].channels, levels[-1].channels, classes, INTER)
        self.features, self.classes, self.side = levels[low].channels + INTER, classes, None

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns the finer map, and the gated last one at its resolution."""
        low, high = maps[self.low], maps[-1]
        gated = self.net.cbr(high) * self.net.scale(high)
        finer = F.interpolate(gated, size=low.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([low, finer.to(low.dtype)], dim=1)

    def logits(self, features: Tensor) -> Tensor:
        """Returns the sum of both classifiers' logits."""
        low, high = torch.split(features, [self.features - INTER, INTER], dim=1)
        found: Tensor = self.net.low_classifier(low) + self.net.high_classifier(high)
        return found


def make_head(spec: SegmentationSpec, levels: Sequence[Level], classes: int, name: str) -> DenseHead:
    """Returns a head with random weights, the auxiliary one drawn last, so that it changes no other.

    Args:
        spec: Which head, and whether there is an auxiliary one.
        levels: The backbone's, as they are after dilation.
        classes: C.
        name: What a message calls the backbone.

    Raises:
        RequestError: The head needs maps that the backbone has not.
    """
    last = levels[-1]
    head: DenseHead
    if spec.head == "lraspp":
        head = LrAspp(levels, _finer(levels, name), classes)
    elif spec.head == "deeplabv3":
        rates = tuple(rate * 16 // last.stride for rate in RATES)
        head = SequentialHead(DeepLabHead(last.channels, classes, rates), classes)
    else:
        head = SequentialHead(FCNHead(last.channels, classes), classes)
    if spec.auxiliary > 0:
        if len(levels) < 2:
            raise RequestError(f"backbone {name}: has a single level; segmentation.auxiliary: 0 does without another")
        head.side = FCNHead(levels[-2].channels, classes)
    return head


def _finer(levels: Sequence[Level], name: str) -> int:
    """Returns the last level that has at least twice the resolution of the last one."""
    for index in reversed(range(len(levels))):
        if levels[index].stride * 2 <= levels[-1].stride:
            return index
    strides = ", ".join(str(level.stride) for level in levels)
    raise RequestError(f"backbone {name}: lraspp needs a map of twice the resolution of the last; strides: {strides}")
