"""Named augmentations: what papers and common scripts do to images, whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from coretune.spec.augment import merged
from coretune.spec.wording import nearest, shown

PRESET = "preset"
"""The key that names one, beside the keys of `AugmentSpec` that change it."""


@dataclass(frozen=True)
class AugmentPreset:
    """A named augmentation.

    Attributes:
        summary: What it is.
        augment: Keys of `AugmentSpec`; they replace those that a data set declares.
        data: Keys of `DataOptions`, sizes and view, which hold where a study does not say them.
    """

    summary: str
    augment: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


PRESETS: Mapping[str, AugmentPreset] = MappingProxyType(
    {
        "cifar": AugmentPreset(
            "the usual one of small photographs: a crop of the image with 4 black pixels around it, flip "
            "(He et al., CVPR 2016)",
            {"crop_padding": 4, "flip": True},
        ),
        "cifar_paper": AugmentPreset(
            "the Core-tuning paper's for CIFAR: resized to 272, rotated by up to 15°, cropped to 256, flip; tested on "
            "the whole image at 256 (arXiv 2102.06605)",
            {"rotation": 15.0, "rotation_fill": "black", "crop_padding": 0, "flip": True},
            {"image_size": 272, "input_size": 256},
        ),
        "imagenet": AugmentPreset(
            "the usual one of ImageNet: random resized crop to 224, flip; tested on the centre 224 of 256 "
            "(torchvision's reference scripts)",
            {"crop_scale": (0.08, 1.0), "crop_ratio": (0.75, 4 / 3), "flip": True},
            {"image_size": 256, "input_size": 224, "test_view": {"resize": 256}},
        ),
        "moco_v2": AugmentPreset(
            "MoCo-v2's of pre-training: random resized crop, colour jitter, grey, blur, flip (arXiv 2003.04297)",
            {
                "crop_scale": (0.2, 1.0),
                "crop_ratio": (0.75, 4 / 3),
                "flip": True,
                "brightness": 0.4,
                "contrast": 0.4,
                "saturation": 0.4,
                "hue": 0.1,
                "jitter_probability": 0.8,
                "jitter_order": "shuffled",
                "grey": 0.2,
                "blur": 0.5,
                "blur_sigma": (0.1, 2.0),
            },
        ),
    }
)


def check_augment(value: Any) -> Any:
    """Returns an augmentation as a mapping: a preset's name is short for `{preset: <name>}`.

    Raises:
        ValueError: It is neither a name nor a mapping, or no preset has the name.
    """
    if value is None:
        return None
    said = value if isinstance(value, Mapping) else {PRESET: value}
    name = said.get(PRESET)
    if name is None and isinstance(value, Mapping):
        return value
    if not isinstance(name, str):
        raise ValueError(
            f"must be a mapping of keys, or the name of a preset ({', '.join(PRESETS)}), got {shown(name)}"
        )
    if name not in PRESETS:
        raise ValueError(f"no preset of augmentation has the name {shown(name)}{nearest(name, PRESETS)}")
    return said


def augment_keys(declared: Mapping[str, Any], said: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the keys of an augmentation: those that are said, over the preset's, or else over the declared ones.

    Args:
        declared: What holds where nothing is said.
        said: A mapping that `check_augment` finds right.
    """
    own = dict(said or {})
    name = own.pop(PRESET, None)
    return merged(declared if name is None else PRESETS[name].augment, own)


def preset_sizes(said: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Returns the keys of `DataOptions` that a preset brings along."""
    name = (said or {}).get(PRESET)
    return {} if name is None else PRESETS[name].data
