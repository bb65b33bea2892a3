"""Finer feature maps from the same weights: dilation in the place of strides."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.backbone import Backbone, Level, LevelledBackbone
from coretune.nets.torchvision_hierarchical import TorchvisionConvNeXt


class TrailingConv2d(nn.Conv2d):
    """A convolution that sees zeros behind the image, to the right and below, and none before it.

    So a convolution whose kernel is as large as its stride, which has no centre, goes on to see at every second
    position what it saw there before.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Returns as many positions as there are."""
        behind = [gap * (size - 1) for gap, size in zip(self.dilation, self.kernel_size, strict=True)]
        return super().forward(F.pad(images, (0, behind[1], 0, behind[0])))


def dilate(encoder: nn.Module, output_stride: int, name: str) -> tuple[Level, ...]:
    """Lets a backbone halve the resolution no further than to an output stride, and returns its levels as they are now.

    The à-trous algorithm (Chen et al., arXiv 1706.05587, section 3.1): where a level would halve the resolution, its
    strided convolutions step by 1, and all later ones have gaps of twice the size. Each feature that the backbone had
    stays what it was, to the rounding, and stands at every second position of the new maps (where their size divides);
    the others are new. Weights and their names do not change. What is fine enough by itself stays as it is, whatever it
    is made of.

    torchvision's own dilated nets (`replace_stride_with_dilation`, bottleneck blocks only) are the same nets.

    Args:
        encoder: A backbone with levels; changed in place.
        output_stride: Pixels per position of the last map, at the most.
        name: What a message calls the backbone.

    Raises:
        RequestError: It has no levels, or takes images of one size alone; or it is coarser and not made of
            convolutions, or halves the resolution otherwise; or its first level is coarser than the output stride.
    """
    if not isinstance(encoder, Backbone) or not encoder.levels:
        raise RequestError(f"backbone {name}: has no feature maps; {TAKEN}")
    only = (encoder.map_sizes or encoder.sizes).only
    if only is not None:
        raise RequestError(f"backbone {name}: takes squares of {only} pixels alone, no whole images; {TAKEN}")
    if encoder.levels[-1].stride <= output_stride:
        return encoder.levels
    modules = _modules(encoder, output_stride, name)
    if encoder.levels[0].stride > output_stride:
        raise RequestError(
            f"backbone {name}: its first level has stride {encoder.levels[0].stride} already, more than the output "
            f"stride {output_stride}"
        )
    levels: list[Level] = []
    gap, before = 1, encoder.levels[0].stride
    for level, parts in zip(encoder.levels, modules, strict=True):
        ratio = level.stride // before
        before = level.stride
        coarser = ratio > 1 and levels[-1].stride * ratio > output_stride
        if coarser or gap > 1:
            _dilate_level(parts, ratio if coarser else 1, gap, name)
        gap *= ratio if coarser else 1
        levels.append(Level(level.name, level.channels, level.stride // gap))
    return tuple(levels)


COARSEST = 16
"""The greatest output stride that a study can ask for."""
TAKEN = (
    "segmentation takes resnet18 to resnet152, resnext, wide_resnet50_2, convnext, small_resnet, cifar_resnet, at "
    "stride 16 vit_b_16 and vit_l_16, and timm's nets that are fine enough by themselves and take any image: params: "
    "{kwargs: {output_stride: 16}}, or {dynamic_img_size: true} of a vision transformer"
)


def _modules(encoder: Backbone, output_stride: int, name: str) -> list[nn.ModuleList]:
    """Returns what the resolution of each level is made by, and the level, in order.

    Raises:
        RequestError: It is not convolutions.
    """
    if isinstance(encoder, LevelledBackbone):
        return [nn.ModuleList([encoder.get_submodule(level.name)]) for level in encoder.levels]
    if isinstance(encoder, TorchvisionConvNeXt):
        stages = list(encoder.stages)
        return [nn.ModuleList(stages[2 * index : 2 * index + 2]) for index in range(len(encoder.levels))]
    stride = encoder.levels[-1].stride
    cure = f"segmentation.output_stride: {stride} takes it; " if output_stride < stride <= COARSEST else ""
    raise RequestError(f"backbone {name}: its feature maps are too coarse and cannot be made finer; {cure}{TAKEN}")


def _dilate_level(parts: nn.ModuleList, ratio: int, gap: int, name: str) -> None:
    """Takes a stride out of a level, whose input has gaps of this size already."""
    convolutions = [
        (owner, child, module)
        for owner in parts.modules()
        for child, module in owner.named_children()
        if isinstance(module, nn.Conv2d)
    ]
    if ratio > 1 and not any(conv.stride[0] == ratio for _, _, conv in convolutions):
        raise RequestError(f"backbone {name}: a level halves the resolution by no convolution; it cannot be dilated")
    for owner, child, conv in convolutions:
        strided = ratio > 1 and conv.stride[0] == ratio
        own = gap if strided else gap * ratio
        assert not isinstance(conv.padding, str)
        conv.dilation = (conv.dilation[0] * own, conv.dilation[1] * own)
        conv.padding = (int(conv.padding[0]) * own, int(conv.padding[1]) * own)
        if strided:
            conv.stride = (1, 1)
            if conv.kernel_size == (ratio, ratio):
                setattr(owner, child, _trailing(conv))


def _trailing(conv: nn.Conv2d) -> TrailingConv2d:
    """Returns a convolution with the same weights that sees zeros behind the image."""
    made = TrailingConv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        dilation=(conv.dilation[0], conv.dilation[1]),
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    made.weight, made.bias = conv.weight, conv.bias
    return made.train(conv.training)
