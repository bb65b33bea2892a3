"""How data sets with a class per pixel are trained on: the key `segmentation` of a study. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from coretune.errors import RequestError
from coretune.spec.frozen import Frozen

MIOU = "miou"
"""The metric of segmentation: mean intersection over union, in per cent."""


class SegmentationSpec(Frozen):
    """What the arms of a comparison have in common, and which pixels Core-tuning makes its pairs of.

    DeepLabv3: Chen et al. (arXiv 1706.05587). FCN: Long, Shelhamer and Darrell (CVPR 2015). LR-ASPP: Howard et al.
    (ICCV 2019, arXiv 1905.02244). Median frequency balancing: Eigen and Fergus (ICCV 2015, arXiv 1411.4734).
    """

    head: Literal["deeplabv3", "fcn", "lraspp"] = Field("deeplabv3", description="torchvision's head on the backbone.")
    output_stride: Literal[8, 16] = Field(
        16,
        description="Pixels of the image per position of the last feature map, at the most: what halves the resolution "
        "beyond that is dilated. A backbone that is finer by itself stays so.",
    )
    auxiliary: float = Field(
        0.4, ge=0, description="Weight of the loss of an FCN head on the last feature map but one; 0: there is none."
    )
    class_weights: Literal["none", "median_frequency"] = Field(
        "none",
        description="Weights of classes in every cross-entropy: none, or the median of the classes' frequencies over "
        "the class's own, in the training masks.",
    )
    batch_norm: Literal["batch", "pretrained"] = Field(
        "batch",
        description="Statistics of the backbone's batch norm in training: the batch's, or the pre-trained ones.",
    )
    scale: tuple[float, float] = Field(
        (0.5, 2.0), description="Range of the random scale, uniform, before a square of data.input_size is cut."
    )
    pixels: int = Field(
        1024,
        ge=2,
        le=65536,
        description="Core-tuning: pixels of the last feature map that are sampled from a contrast batch, at the most; "
        "memory of pairs and contrast is linear in it.",
    )
    purity: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Core-tuning: share of a position's pixels that its majority class has at least; else it is void.",
    )
    distance: int = Field(
        2,
        ge=1,
        le=64,
        description="Core-tuning: least distance of two sampled pixels of an image, in rows or in columns of the map.",
    )
    hard: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Core-tuning: share of each class's sampled pixels that the model predicts wrongly now, as far as "
        "there are some.",
    )
    mixtures: float = Field(
        2 / 3,
        ge=0,
        le=1,
        description="Core-tuning: share of the mixtures in the classification loss; the paper's is two rows of three.",
    )
    version: int = Field(1, description="Version of the mathematics of segmentation.")

    @field_validator("scale")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 10:
            raise ValueError(f"needs 0 < low <= high <= 10, got {list(value)}")
        return value

    def check_images(self, images: int) -> None:
        """Makes sure that a head can be trained on so many images.

        Raises:
            RequestError: It cannot.
        """
        if self.head == "deeplabv3" and images < 2:
            raise RequestError(
                "segmentation.head: deeplabv3 normalises a single value of each image, and there is one image to train "
                "on: take fcn or lraspp, or more images"
            )

    def without_sampling(self) -> SegmentationSpec:
        """Returns it as it is for a method that samples no pixels, of which these keys say nothing."""
        fields = type(self).model_fields
        return self.replace(**{name: fields[name].default for name in SAMPLING})


SAMPLING = ("pixels", "purity", "distance", "hard", "mixtures")
"""Keys that only a method which samples pixels reads."""
SEGMENTATION_KEYS = tuple(name for name in SegmentationSpec.model_fields if name != "version")
