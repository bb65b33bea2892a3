"""Says which architecture a backbone has, from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_RESNETS: Mapping[tuple[bool, tuple[int, ...]], int] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
"""Depth by whether the blocks have three convolutions, and the blocks of each stage (He et al., CVPR 2016, table 1)."""

_VITS = {(192, 12): "ViT-Ti", (384, 12): "ViT-S", (768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"}
"""Name by width and number of blocks (Dosovitskiy et al., ICLR 2021, table 1; Touvron et al., ICML 2021, table 1)."""

_HIERARCHICAL: Mapping[tuple[str, tuple[int, ...], int], str] = {
    ("attn.qkv", (2, 2, 6, 2), 96): "swin_t",
    ("attn.qkv", (2, 2, 18, 2), 96): "swin_s",
    ("attn.qkv", (2, 2, 18, 2), 128): "swin_b",
    ("block.0", (3, 3, 9, 3), 96): "convnext_tiny",
    ("block.0", (3, 3, 27, 3), 96): "convnext_small",
    ("block.0", (3, 3, 27, 3), 128): "convnext_base",
}
"""Name by a layer of each block, the blocks of each stage, and the width of the first (Liu et al., ICCV 2021, table 7;
Liu et al., CVPR 2022, section 3)."""

Shapes = Mapping[str, tuple[int, ...]]


def architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """Returns what a backbone's shapes say of its architecture, e.g. `resnet50`, `ViT-S/16`; None if nothing.

    Args:
        tensors: The backbone's, by torchvision's or timm's names.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    return _vit(shapes) or _hierarchical(shapes) or _small(shapes) or _resnet(shapes)


def _count(shapes: Shapes, pattern: str) -> int:
    """Returns how many different numbers a pattern's group has among the keys."""
    return len({found[1] for key in shapes if (found := re.match(pattern, key))})


def _vit(shapes: Shapes) -> str | None:
    patch = shapes.get("patch_embed.proj.weight", shapes.get("conv_proj.weight", ()))
    blocks = _count(shapes, r"blocks\.(\d+)\.") or _count(shapes, r"encoder\.layers\.encoder_layer_(\d+)\.")
    if len(patch) != 4 or not blocks:
        return None
    width, size = patch[0], patch[2]
    name = _VITS.get((width, blocks))
    return f"{name}/{size}" if name else f"a ViT of {blocks} blocks, {width} wide, with patches of {size}"


def _hierarchical(shapes: Shapes) -> str | None:
    stages = tuple(_count(shapes, rf"features\.{stage}\.(\d+)\.") for stage in (1, 3, 5, 7))
    width = shapes.get("features.0.0.weight", (0,))[0]
    layers = ("attn.qkv", "block.0")
    layer = next((each for each in layers if f"features.1.0.{each}.weight" in shapes), "")
    return _HIERARCHICAL.get((layer, stages, width))


def _small(shapes: Shapes) -> str | None:
    blocks = _count(shapes, r"blocks\.(\d+)\.conv1\.")
    widths = [shapes.get(f"blocks.{index}.conv1.weight", (0,))[0] for index in range(blocks)]
    return f"small_resnet of widths {widths}" if blocks and "norm.weight" in shapes else None


def _resnet(shapes: Shapes) -> str | None:
    stem = shapes.get("conv1.weight", ())
    stages = tuple(_count(shapes, rf"layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    inner = shapes.get("layer1.0.conv2.weight", ())
    if len(stem) != 4 or len(inner) != 4 or not stages[0]:
        return None
    if stages[3] == 0:
        return _cifar_resnet(shapes, stages[:3], stem[0])
    deep = "layer1.0.conv3.weight" in shapes
    depth = _RESNETS.get((deep, stages))
    if depth is None:
        return f"a ResNet of {'+'.join(map(str, stages))} {'bottleneck' if deep else 'basic'} blocks"
    return _wide(depth, stem[0], inner) + (" with a CIFAR stem" if stem[2] == 3 else "")


def _wide(depth: int, stem: int, inner: tuple[int, ...]) -> str:
    """Returns torchvision's name for a ResNet of some depth, width and groups."""
    groups = inner[0] // max(inner[1], 1)
    if groups > 1:
        return f"resnext{depth}_{groups}x{inner[1]}d"
    if stem > 64 and stem % 64 == 0:
        return f"resnet{depth}, {stem // 64} times as wide"
    return f"wide_resnet{depth}_{inner[0] // 64}" if inner[0] > 64 else f"resnet{depth}"


def _cifar_resnet(shapes: Shapes, stages: tuple[int, ...], width: int) -> str | None:
    if len(set(stages)) != 1:
        return None
    # Option A pads with zeros, which need no tensors; option B is a convolution.
    projected = any(re.match(r"layer2\.0\.(shortcut|downsample)\.", key) for key in shapes)
    return f"CIFAR ResNet-{6 * stages[0] + 2}, {width} wide, shortcuts of option {'B' if projected else 'A'}"
