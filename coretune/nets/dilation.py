"""Finer feature maps from the same weights: dilation in the place of strides."""

from __future__ import annotations

from torch import nn

from coretune.errors import RequestError
from coretune.nets.backbone import Level, LevelledBackbone


def dilate(encoder: nn.Module, output_stride: int, name: str) -> tuple[Level, ...]:
    """Lets a backbone halve the resolution no further than to an output stride, and returns its levels as they are now.

    The à-trous algorithm (Chen et al., arXiv 1706.05587, section 3.1): where a level would halve the resolution, its
    strided convolutions step by 1, and all later ones have gaps of twice the size. Each feature that the backbone had
    stays what it was, to the rounding, and stands at every second position of the new maps (where their size divides);
    the others are new. Weights and their names do not change. What is finer than asked for by itself stays so.

    torchvision's own dilated nets (`replace_stride_with_dilation`, bottleneck blocks only) are the same nets.

    Args:
        encoder: A backbone whose levels are made of convolutions; changed in place.
        output_stride: Pixels per position of the last map, at the most.
        name: What a message calls the backbone.

    Raises:
        RequestError: It has no levels of convolutions, or halves the resolution otherwise than by them; or the output
            stride is below that of its first level.
    """
    if not isinstance(encoder, LevelledBackbone) or not encoder.levels:
        raise RequestError(
            f"backbone {name}: has no feature maps made by convolutions alone that could be dilated; segmentation "
            "takes residual nets: resnet18 to resnet152, resnext, wide_resnet50_2, small_resnet, cifar_resnet"
        )
    if encoder.levels[0].stride > output_stride:
        raise RequestError(
            f"backbone {name}: its first level has stride {encoder.levels[0].stride} already, more than the output "
            f"stride {output_stride}"
        )
    levels: list[Level] = []
    gap, before = 1, encoder.levels[0].stride
    for level in encoder.levels:
        ratio = level.stride // before
        before = level.stride
        coarser = ratio > 1 and levels[-1].stride * ratio > output_stride
        if coarser or gap > 1:
            _dilate_level(encoder.get_submodule(level.name), ratio if coarser else 1, gap, name)
        gap *= ratio if coarser else 1
        levels.append(Level(level.name, level.channels, level.stride // gap))
    return tuple(levels)


def _dilate_level(level: nn.Module, ratio: int, gap: int, name: str) -> None:
    """Takes a stride out of a level, whose input has gaps of this size already."""
    convolutions = [module for module in level.modules() if isinstance(module, nn.Conv2d)]
    if ratio > 1 and not any(conv.stride[0] == ratio for conv in convolutions):
        raise RequestError(f"backbone {name}: a level halves the resolution by no convolution; it cannot be dilated")
    for conv in convolutions:
        strided = ratio > 1 and conv.stride[0] == ratio
        own = gap if strided else gap * ratio
        if strided:
            conv.stride = (1, 1)
        if conv.kernel_size != (1, 1):
            conv.dilation = (conv.dilation[0] * own, conv.dilation[1] * own)
            assert not isinstance(conv.padding, str)
            conv.padding = (int(conv.padding[0]) * own, int(conv.padding[1]) * own)
