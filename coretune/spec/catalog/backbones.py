"""Network architectures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from coretune.spec.components import Component, NoParameters
from coretune.spec.frozen import Frozen

SET_BY_CORETUNE = ("checkpoint_path", "features_only", "global_pool", "in_chans", "num_classes", "pretrained")
"""Arguments of timm's that a study cannot set: the weights are a study's own key, and the contract says the rest."""


class SmallResNetParameters(Frozen):
    """A residual net for small images: one basic block per width, the first at full resolution."""

    widths: tuple[int, ...] = Field(
        (32, 64, 256), min_length=1, description="Channels of each block; the last is the feature width."
    )
    stem_stride: int = Field(1, ge=1, le=4, description="Stride of the 3×3 stem.")


class ShortcutParameters(Frozen):
    """A residual net for images of 32 pixels, of a depth that its name says."""

    shortcut: Literal["A", "B"] = Field(
        "A", description="Where the shape changes: A pads with empty channels, B projects (1×1 convolution)."
    )


class CifarResNetParameters(ShortcutParameters):
    """A residual net for images of 32 pixels."""

    depth: Literal[20, 32, 44, 56, 110] = Field(20, description="Number of layers, 6m + 2.")


class ResNetParameters(Frozen):
    """One of torchvision's residual nets."""

    stem: Literal["imagenet", "cifar"] = Field(
        "imagenet",
        description="`imagenet`: 7×7 convolution of stride 2 and max-pool; `cifar`: 3×3 of stride 1, no max-pool.",
    )


class VisionTransformerParameters(Frozen):
    """One of torchvision's vision transformers with patches of 16 pixels."""

    image_size: int = Field(
        224, ge=16, le=2048, multiple_of=16, description="Side in pixels of the images that it takes, a multiple of 16."
    )


class TimmParameters(Frozen):
    """A model of timm."""

    model: str = Field(
        "vit_small_patch16_224",
        pattern=r"^[A-Za-z0-9_.]+$",
        max_length=100,
        description="Name in timm: letters, digits, `_`, `.`.",
    )
    kwargs: dict[str, bool | int | float | str] = Field({}, description="Further arguments of `timm.create_model`.")

    @field_validator("kwargs")
    @classmethod
    def _left_to_coretune(cls, value: dict[str, bool | int | float | str]) -> dict[str, bool | int | float | str]:
        taken = sorted(set(value) & set(SET_BY_CORETUNE))
        if taken:
            raise ValueError(f"cannot set {', '.join(taken)}; weights come from checkpoint or pretrain")
        return value


RESNET, RESNEXT, WIDE = "He et al., CVPR 2016", "Xie et al., CVPR 2017", "Zagoruyko and Komodakis, BMVC 2016"
VIT, SWIN, CONVNEXT = "Dosovitskiy et al., ICLR 2021", "Liu et al., ICCV 2021", "Liu et al., CVPR 2022"

TORCHVISION: tuple[tuple[str, type[Frozen], tuple[tuple[str, str, int, str], ...]], ...] = (
    (
        "resnet",
        ResNetParameters,
        (
            ("resnet18", "ResNet-18", 512, RESNET),
            ("resnet34", "ResNet-34", 512, RESNET),
            ("resnet50", "ResNet-50", 2048, RESNET),
            ("resnet101", "ResNet-101", 2048, RESNET),
            ("resnet152", "ResNet-152", 2048, RESNET),
            ("resnext50_32x4d", "ResNeXt-50 32×4d", 2048, RESNEXT),
            ("resnext101_32x8d", "ResNeXt-101 32×8d", 2048, RESNEXT),
            ("wide_resnet50_2", "Wide ResNet-50-2", 2048, WIDE),
        ),
    ),
    (
        "vit",
        VisionTransformerParameters,
        (("vit_b_16", "ViT-B/16", 768, VIT), ("vit_l_16", "ViT-L/16", 1024, VIT)),
    ),
    (
        "hierarchical",
        NoParameters,
        (
            ("swin_t", "Swin-T", 768, SWIN),
            ("swin_s", "Swin-S", 768, SWIN),
            ("swin_b", "Swin-B", 1024, SWIN),
            ("convnext_tiny", "ConvNeXt-T", 768, CONVNEXT),
            ("convnext_small", "ConvNeXt-S", 768, CONVNEXT),
            ("convnext_base", "ConvNeXt-B", 1024, CONVNEXT),
        ),
    ),
)
"""Module of `coretune.nets`, parameters, and of each net name, label, width and source."""

COMPONENTS: list[Component] = [
    Component(
        kind="backbone",
        name="small_resnet",
        version=1,
        target="coretune.nets.small_resnet:SmallResNet",
        summary="residual net of a few basic blocks for images of 16 to 64 pixels; 256-d features",
        source="basic blocks of He et al., CVPR 2016",
        parameters=SmallResNetParameters,
    ),
    *(
        Component(
            kind="backbone",
            name=name,
            version=1,
            target=f"coretune.nets.torchvision_{module}:{name}",
            summary=f"torchvision's {label}, without its classifier; {width}-d features",
            source=source,
            parameters=parameters,
        )
        for module, parameters, nets in TORCHVISION
        for name, label, width, source in nets
    ),
    Component(
        kind="backbone",
        name="cifar_resnet",
        version=1,
        target="coretune.nets.cifar_resnet:CifarResNet",
        summary="residual net of 20 to 110 layers for images of 32 pixels; 64-d features",
        source="He et al., CVPR 2016, section 4.2",
        parameters=CifarResNetParameters,
    ),
    *(
        Component(
            kind="backbone",
            name=f"resnet{depth}",
            version=1,
            target=f"coretune.nets.cifar_resnet:resnet{depth}",
            summary=f"`cifar_resnet` of {depth} layers; 64-d features",
            source="He et al., CVPR 2016, section 4.2",
            parameters=ShortcutParameters,
        )
        for depth in (20, 32, 44, 56, 110)
    ),
    Component(
        kind="backbone",
        name="timm",
        version=1,
        target="coretune.nets.timm_net:TimmBackbone",
        summary="any model of timm, without its classifier; needs `pip install coretune[timm]`",
        source="Wightman, PyTorch Image Models, doi 10.5281/zenodo.4414861",
        parameters=TimmParameters,
    ),
]
