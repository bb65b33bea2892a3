"""Augmentation against torchvision's v2 transforms: the law of what is drawn, and of what becomes of the pixels.

Each law is tested on numbers that tell the parameters from the pixels. Seeds are fixed; a p below 10⁻⁴ in one of some
hundred and fifty tests is a false alarm at one choice of seeds in seventy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.augmenting import drawn, noise
from torch import Tensor
from torchvision.transforms import v2

from coretune.data.augment import augment, streams, to_float
from coretune.data.augment.columns import TABLES
from coretune.data.draws import uniforms
from coretune.spec.augment import AugmentSpec
from coretune.spec.augment_presets import PRESETS

torch.set_num_threads(1)

LEVEL = 1e-4
BILINEAR = v2.InterpolationMode.BILINEAR
Transform = Callable[[Tensor], Tensor]


def ours(image: Tensor, spec: AugmentSpec, n: int, size: int | None = None, seed: int = 1) -> Tensor:
    """n results (n, 3, H, W) of one image (H, W, 3) uint8."""
    made = [augment(image.expand(len(rows), *image.shape), rows, spec, size) for rows in drawn(n, seed).split(500)]
    return torch.cat(made)


def theirs(image: Tensor, transform: Transform, n: int, seed: int = 2) -> Tensor:
    """n results of torchvision's transform of the same image, as a float image."""
    floats = to_float(image[None])[0]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.stack([transform(floats) for _ in range(n)])


def same_law(one: Tensor, other: Tensor, what: str) -> None:
    """Two samples of numbers: Kolmogorov-Smirnov, or chi-square where there are few values."""
    samples = [sample.double().numpy().round(4) for sample in (one, other)]  # many have one value, but for rounding
    values = np.unique(np.concatenate(samples))
    if len(values) == 1:
        return
    if len(values) > 40:
        p = stats.ks_2samp(*samples).pvalue
    else:
        table = [np.bincount(np.searchsorted(values, sample), minlength=len(values)) for sample in samples]
        p = stats.chi2_contingency(np.array(table)).pvalue
    assert p > LEVEL, f"{what}: p = {p:.1e}"


def gradient(side: int) -> Tensor:
    """(side, side, 3): red tells the column, green the row, blue their sum."""
    line = torch.linspace(0, 255, side)
    across, down = line.expand(side, side), line[:, None].expand(side, side)
    return torch.stack((across, down, (across + down) / 2), dim=2).round().to(torch.uint8)


def same_laws(name: str, one: Tensor, other: Tensor) -> None:
    """Two samples of images: all that is looked at follows the same law."""
    found, expected = moments(one), moments(other)
    for what, values in found.items():
        same_law(values, expected[what], f"{name}, {what}")


def moments(images: Tensor) -> dict[str, Tensor]:
    """Mean and spread of each channel, and a pixel of each quarter."""
    middle = images.shape[-1] // 4
    return {
        **{f"mean of channel {c}": images[:, c].mean((1, 2)) for c in range(3)},
        **{f"spread of channel {c}": images[:, c].std((1, 2)) for c in range(3)},
        **{f"pixel {y}, {x}": images[:, 0, y * middle, x * middle] for y, x in ((1, 1), (1, 3), (3, 2))},
    }


PHOTO = noise(1, 6, 5)[0]
WIDE = gradient(60)
JITTER = partial(v2.ColorJitter, 0.4, 0.4, 0.4, 0.1)
LAWS: dict[str, tuple[AugmentSpec, Transform, Tensor, int]] = {
    "padded crop": (AugmentSpec(crop_padding=2), v2.RandomCrop(6, padding=2), PHOTO, 3000),
    "padded crop, mirrored border": (
        AugmentSpec(crop_padding=2, crop_fill="reflection"),
        v2.RandomCrop(6, padding=2, padding_mode="reflect"),
        PHOTO,
        3000,
    ),
    "flips": (
        AugmentSpec(flip=True, vertical_flip=True),
        v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]),
        PHOTO,
        3000,
    ),
    "rotation": (
        AugmentSpec(rotation=40, rotation_fill="black"),
        v2.RandomRotation(40, interpolation=BILINEAR, fill=None),
        gradient(24),
        1000,
    ),
    "random resized crop": (
        AugmentSpec(crop_scale=(0.2, 1.0)),
        v2.RandomResizedCrop(60, scale=(0.2, 1.0), antialias=True),
        WIDE,
        600,
    ),
    "brightness": (AugmentSpec(brightness=0.7), v2.ColorJitter(brightness=0.7), PHOTO, 1000),
    "contrast": (AugmentSpec(contrast=0.7), v2.ColorJitter(contrast=0.7), PHOTO, 1000),
    "saturation": (AugmentSpec(saturation=0.7), v2.ColorJitter(saturation=0.7), PHOTO, 1000),
    "hue": (AugmentSpec(hue=0.3), v2.ColorJitter(hue=0.3), PHOTO, 1000),
    "jitter in shuffled order, of a share": (
        AugmentSpec(
            brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter_probability=0.8, jitter_order="shuffled"
        ),
        v2.RandomApply([JITTER()], p=0.8),
        PHOTO,
        1200,
    ),
    "grey": (AugmentSpec(grey=0.3), v2.RandomGrayscale(0.3), PHOTO, 3000),
    "blur": (
        AugmentSpec(blur=0.5, blur_sigma=(0.3, 2.0), blur_kernel=9),
        v2.RandomApply([v2.GaussianBlur(9, (0.3, 2.0))], p=0.5),
        noise(1, 9, 6)[0],
        1200,
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_an_operation_has_torchvision_s_law(name: str) -> None:
    spec, transform, image, n = LAWS[name]
    same_laws(name, ours(image, spec, n), theirs(image, transform, n))


RECIPES: dict[str, Transform] = {
    "cifar": v2.Compose([v2.RandomCrop(60, padding=4), v2.RandomHorizontalFlip()]),
    "cifar_paper": v2.Compose(
        [v2.RandomRotation(15, interpolation=BILINEAR, fill=None), v2.RandomCrop(52), v2.RandomHorizontalFlip()]
    ),
    "imagenet": v2.Compose([v2.RandomResizedCrop(52, antialias=True), v2.RandomHorizontalFlip()]),
    "moco_v2": v2.Compose(
        [
            v2.RandomResizedCrop(60, scale=(0.2, 1.0), antialias=True),
            v2.RandomApply([JITTER()], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(13, (0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
        ]
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_law_of_its_recipe_in_torchvision(name: str) -> None:
    spec = AugmentSpec.model_validate(dict(PRESETS[name].augment))
    size = 52 if PRESETS[name].data else None
    same_laws(name, ours(WIDE, spec, 300, size), theirs(WIDE, RECIPES[name], 300))


WRONG: dict[str, tuple[AugmentSpec, Transform, Tensor, int]] = {
    "padding": (AugmentSpec(crop_padding=2), v2.RandomCrop(6, padding=3), PHOTO, 1000),
    "rotation": (AugmentSpec(rotation=40), v2.RandomRotation(30, interpolation=BILINEAR), WIDE, 300),
    "crop": (
        AugmentSpec(crop_scale=(0.2, 1.0)),
        v2.RandomResizedCrop(60, scale=(0.4, 1.0), antialias=True),
        WIDE,
        600,
    ),
    "brightness": (AugmentSpec(brightness=0.7), v2.ColorJitter(brightness=0.5), PHOTO, 1000),
    "grey": (AugmentSpec(grey=0.3), v2.RandomGrayscale(0.2), PHOTO, 2000),
    "blur": (
        AugmentSpec(blur=0.5, blur_sigma=(0.3, 2.0), blur_kernel=9),
        v2.RandomApply([v2.GaussianBlur(9, (0.3, 1.2))], p=0.5),
        noise(1, 9, 6)[0],
        1200,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_law_would_be_found(name: str) -> None:
    """The tests above are sharp enough for a pixel of padding more, or a quarter of an angle less."""
    spec, transform, image, n = WRONG[name]
    found, expected = ours(image, spec, n), theirs(image, transform, n)
    with pytest.raises(AssertionError, match="p = "):
        same_laws(name, found, expected)


fractions = st.floats(0, 1, width=32)
ranges = st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)).map(lambda pair: (min(pair), max(pair)))
crops = st.fixed_dictionaries({"crop_scale": ranges}) | st.fixed_dictionaries(
    {"crop_padding": st.integers(0, 5), "crop_fill": st.sampled_from(["black", "reflection"])}
)
others = st.fixed_dictionaries(
    {},
    optional={
        "flip": st.booleans(),
        "vertical_flip": st.booleans(),
        "rotation": st.floats(0, 180),
        "rotation_fill": st.sampled_from(["black", "reflection"]),
        "brightness": fractions,
        "contrast": fractions,
        "saturation": fractions,
        "hue": st.floats(0, 0.5),
        "jitter_probability": fractions,
        "jitter_order": st.sampled_from(["fixed", "shuffled"]),
        "grey": fractions,
        "blur": fractions,
        "blur_sigma": ranges,
        "blur_kernel": st.sampled_from([None, 3, 7]),
    },
)
specs = st.builds(lambda crop, rest: AugmentSpec.model_validate({**crop, **rest}), crops | st.just({}), others)


@settings(max_examples=60, deadline=None)
@given(spec=specs, size=st.integers(5, 12), seed=st.integers(0, 99), data=st.data())
def test_a_sample_is_the_same_in_any_batch(spec: AugmentSpec, size: int, seed: int, data: Any) -> None:
    """Any choice of samples, in any order, any of them twice; bytes or floats; with columns that nobody reads."""
    if spec.crop_padding is not None:
        size = min(size, 9 + 2 * spec.crop_padding)
    images, draws = noise(8, 9, seed), drawn(8, seed)
    together = augment(images, draws, spec, size)
    chosen = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=12))
    width = data.draw(st.sampled_from([sum(streams(spec).values()), draws.shape[1]]))
    pixels = to_float(images) if data.draw(st.booleans()) else images
    found = augment(pixels[chosen], draws[chosen, :width], spec, size)
    torch.testing.assert_close(found, together[chosen], atol=1e-6, rtol=0)
    assert together.shape == (8, 3, size, size)
    assert -1e-6 <= float(together.min()) <= float(together.max()) <= 1 + 1e-6


@settings(max_examples=40, deadline=None)
@given(spec=specs, addition=st.sampled_from(["vertical_flip", "blur", "jitter_order"]), seed=st.integers(0, 99))
def test_a_further_operation_moves_no_number_of_the_others(spec: AugmentSpec, addition: str, seed: int) -> None:
    """As the sampler draws: one table per purpose, side by side."""
    change: Any = {"vertical_flip": True, "blur": 0.5, "jitter_order": "shuffled"}[addition]
    more = spec.replace(**{addition: change})

    def table(asked: AugmentSpec) -> np.ndarray[Any, np.dtype[np.float32]]:
        tables = [uniforms(seed, f"{purpose}0", 3, 20, columns) for purpose, columns in streams(asked).items()]
        return np.concatenate(tables, axis=1)

    before, after = table(spec), table(more)
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)
    assert list(streams(more)) == [each.purpose for each in TABLES][: len(streams(more))]
