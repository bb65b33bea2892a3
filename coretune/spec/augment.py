"""What is done to images before a net sees them: in training by chance, in an evaluation always alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from coretune.spec.frozen import Frozen

WHOLE = (1.0, 1.0)
"""The `crop_scale` that cuts nothing."""


class AugmentSpec(Frozen):
    """Training augmentation, drawn for each sample and epoch."""

    crop_scale: tuple[float, float] = Field(
        (1.0, 1.0), description="Range of the random resized crop's area, as a fraction of the image."
    )
    crop_ratio: tuple[float, float] = Field(
        (0.75, 4 / 3), description="Range of the crop's width over height, log-uniform; unused at crop_scale [1, 1]."
    )
    crop_padding: int | None = Field(
        None,
        ge=0,
        description="Cut a square of data.input_size from the image, padded on all sides by so many pixels; in place "
        "of the random resized crop; null: do not.",
    )
    crop_fill: Literal["black", "reflection"] = Field("black", description="What crop_padding adds.")
    flip: bool = Field(False, description="Mirror left to right with probability 1/2.")
    vertical_flip: bool = Field(False, description="Turn upside down with probability 1/2.")
    rotation: float = Field(0.0, ge=0, le=180, description="Largest rotation, in degrees to either side.")
    rotation_fill: Literal["reflection", "black"] = Field(
        "reflection", description="What a rotation shows beyond the image."
    )
    brightness: float = Field(0.0, ge=0, le=1, description="Largest relative change of brightness.")
    contrast: float = Field(0.0, ge=0, le=1, description="Largest relative change of contrast.")
    saturation: float = Field(0.0, ge=0, le=1, description="Largest relative change of saturation.")
    hue: float = Field(0.0, ge=0, le=0.5, description="Largest change of hue to either side, in turns of its circle.")
    jitter_probability: float = Field(
        1.0, ge=0, le=1, description="Probability that a sample's brightness, contrast, saturation and hue are changed."
    )
    jitter_order: Literal["fixed", "shuffled"] = Field(
        "fixed",
        description="Brightness, contrast, saturation, hue, one after the other (fixed), or in an order drawn for each "
        "sample, as torchvision does (shuffled).",
    )
    grey: float = Field(0.0, ge=0, le=1, description="Probability that a sample is made grey.")
    blur: float = Field(0.0, ge=0, le=1, description="Probability that a sample is blurred, by a Gaussian.")
    blur_sigma: tuple[float, float] = Field(
        (0.1, 2.0), description="Range of the Gaussian's standard deviation, in pixels, uniform."
    )
    blur_kernel: int | None = Field(
        None, ge=3, description="Width of the Gaussian in pixels, odd; null: three standard deviations to either side."
    )

    @field_validator("crop_scale", "crop_ratio", "blur_sigma")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError(f"needs 0 < low <= high, got {list(value)}")
        return value

    @field_validator("crop_scale")
    @classmethod
    def _inside(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[1] > 1:
            raise ValueError(f"a crop must be at most the whole image, 1.0, got {list(value)}")
        return value

    @field_validator("crop_padding")
    @classmethod
    def _one_crop(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("crop_scale", WHOLE) != WHOLE:
            raise ValueError("excludes crop_scale: a square of the image as it is, or a resized part of it")
        return value

    @field_validator("blur_kernel")
    @classmethod
    def _odd(cls, value: int | None) -> int | None:
        if value is not None and value % 2 == 0:
            raise ValueError(f"is odd, to have a centre, got {value}; {value + 1} would do")
        return value

    @property
    def kernel(self) -> int:
        """Width of the blur's kernel in pixels, odd."""
        return self.blur_kernel or 2 * math.ceil(3 * self.blur_sigma[1]) + 1


def merged(below: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of an augmentation that is said over another; a crop that is said replaces the other kind."""
    kept = dict(below)
    if said.get("crop_padding") is not None:
        kept = {key: value for key, value in kept.items() if key not in ("crop_scale", "crop_ratio")}
    elif said.get("crop_scale") is not None:
        kept.pop("crop_padding", None)
    return {**kept, **said}


class ViewSpec(Frozen):
    """What an evaluation sees of an image: the centre of the whole image, resized."""

    resize: int | None = Field(None, ge=4, description="Side that the image is resized to first; null: crop's.")
    crop: int | None = Field(None, ge=4, description="Side of the centre square that is cut; null: data.input_size.")


class Sides(NamedTuple):
    """What an evaluation sees of an image, in pixels.

    Attributes:
        resize: Side that the whole image is resized to.
        crop: Side of the centre square that is cut from that.
    """

    resize: int
    crop: int


def sides(view: ViewSpec | None, side: int) -> Sides:
    """Returns what a view means for a net that is fed images of this side."""
    view = view or ViewSpec()
    crop = view.crop or side
    return Sides(view.resize or crop, crop)


def misfits(
    image_size: int, input_size: int | None, test_view: ViewSpec | None, augment: AugmentSpec
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields what of an augmentation or a view does not fit the images: the key below `data`, and what is wrong."""
    side = input_size or image_size
    resize, crop = sides(test_view, side)
    if crop > resize:
        key = "crop" if test_view is not None and test_view.crop is not None else "resize"
        yield ("test_view", key), f"cuts {crop} pixels of an image that is resized to {resize}; resize: {crop} would do"
    padding = augment.crop_padding
    if padding is not None and side > image_size + 2 * padding:
        needed = -(-(side - image_size) // 2)
        yield (
            ("augment", "crop_padding"),
            f"{padding} is too little to cut {side} pixels (input_size) from images of {image_size} (image_size); "
            f"at least {needed}, or larger images",
        )
    if padding is not None and augment.crop_fill == "reflection" and padding >= image_size:
        yield ("augment", "crop_padding"), f"reflects at most {image_size - 1} pixels of an image of {image_size}"
    if augment.blur > 0 and augment.blur_kernel is not None and augment.blur_kernel > 2 * side - 1:
        yield ("augment", "blur_kernel"), f"must be at most {2 * side - 1} for images of {side} pixels"
