"""Network architectures."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen


class SmallResNetParameters(Frozen):
    """A residual net for small images: one basic block per width, the first at full resolution."""

    widths: tuple[int, ...] = Field(
        (32, 64, 256), min_length=1, description="Channels of each block; the last is the feature width."
    )
    stem_stride: int = Field(1, ge=1, le=4, description="Stride of the 3×3 stem.")


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
            target=f"coretune.nets.torchvision_resnet:{name}",
            summary=f"torchvision's {label}, without its classifier; {width}-d features",
            source="He et al., CVPR 2016",
        )
        for name, label, width in (("resnet18", "ResNet-18", 512), ("resnet50", "ResNet-50", 2048))
    ),
]
