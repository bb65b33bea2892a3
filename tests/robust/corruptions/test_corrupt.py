"""What holds of every corruption: range, 8 bits, the same images whatever the batch, worse with severity; errors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corrupting import noise_images

from coretune.robust.corruptions import CORRUPTIONS, SEVERITIES, TABLES, corrupt, table_for

torch.set_num_threads(1)

EITHER_WAY = {
    "glass_blur": "the published severities trade blur for shift",
    "elastic_transform": "the published severities trade stretch for wrinkles",
    "frost": "the published severities take away more of the image than they add",
}
"""Corruptions whose published parameters do not grow in the mean squared distance, and why."""


def test_there_are_the_fifteen_of_the_paper() -> None:
    groups = [corruption.group for corruption in CORRUPTIONS.values()]
    assert groups == ["noise"] * 3 + ["blur"] * 4 + ["weather"] * 4 + ["digital"] * 4
    for table in TABLES:
        assert list(table.levels) == list(CORRUPTIONS)
        assert all(len(levels) == 5 for levels in table.levels.values())


@settings(deadline=None, max_examples=120)
@given(
    name=st.sampled_from(list(CORRUPTIONS)),
    severity=st.sampled_from(SEVERITIES),
    table=st.sampled_from(TABLES),
    side=st.integers(4, 40),
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(["noise", "black", "white"]),
)
def test_results_are_images_that_depend_on_nothing_else(
    name: str, severity: int, table: object, side: int, seed: int, kind: str
) -> None:
    images = {"black": torch.zeros, "white": torch.ones}[kind](4, 3, side, side) if kind != "noise" else None
    images = noise_images(4, side, seed) if images is None else images
    samples = np.array([5, 900, 5, 17])
    before = images.clone()

    def made(rows: slice) -> torch.Tensor:
        return corrupt(images[rows], samples[rows], name, severity, seed=seed, table=table)  # type: ignore[arg-type]

    found = made(slice(None))
    assert torch.equal(images, before), "what is given stays as it is"
    assert found.shape == images.shape and found.dtype == torch.float32
    assert bool(((found >= 0) & (found <= 1)).all())
    assert bool(((found * 255 - (found * 255).round()).abs() < 1e-3).all())
    assert torch.equal(found, made(slice(None)))
    alone = torch.cat([made(slice(0, 1)), made(slice(1, 4))])
    assert torch.equal(alone, found)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
@pytest.mark.parametrize("side", [32, 64])
def test_a_higher_severity_is_further_away(name: str, side: int) -> None:
    images = noise_images(12, side)
    distances = [float((corrupt(images, np.arange(12), name, s) - images).square().mean()) for s in SEVERITIES]
    assert all(distance > 0 for distance in distances)
    if name not in EITHER_WAY:
        assert all(low < 1.03 * high for low, high in pairwise(distances)), distances
        assert distances[0] < distances[-1]


@pytest.mark.parametrize("name", ["gaussian_noise", "glass_blur", "snow", "frost", "fog", "elastic_transform"])
def test_draws_belong_to_the_image_and_the_seed(name: str) -> None:
    images = noise_images(1, 16).repeat(3, 1, 1, 1)
    first, again, other = corrupt(images, np.array([3, 3, 4]), name, 4)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, corrupt(images[:1], np.array([3]), name, 4, seed=1)[0])


@pytest.mark.parametrize(
    ("sides", "name"),
    [((8, 32, 45), "CIFAR-10-C"), ((46, 64, 96, 119), "Tiny-ImageNet-C"), ((120, 224, 384), "ImageNet-C")],
)
def test_the_table_follows_the_size(sides: tuple[int, ...], name: str) -> None:
    assert {table_for(side).name for side in sides} == {name}


def test_no_image_is_no_image() -> None:
    assert corrupt(torch.zeros(0, 3, 8, 8), np.empty(0, np.int64), "fog", 1).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "fogg"}, "name: got 'fogg'"),
        ({"severity": 0}, "severity: got 0, need 1, 2, 3, 4 or 5"),
        ({"samples": np.arange(2)}, "samples: got 2 numbers, need 3, one per image"),
        ({"images": torch.rand(3, 3, 8, 9)}, "images: got 8×9 pixels, need a square"),
        ({"images": torch.rand(3, 3, 2, 2)}, "images: got 2×2 pixels"),
        ({"images": torch.rand(3, 1, 8, 8)}, "images: got shape"),
        ({"images": 255 * torch.ones(3, 3, 8, 8)}, r"images: got 255.0 at \[0, 0, 0, 0\], need values in \[0, 1\]"),
        ({"images": torch.full((3, 3, 8, 8), torch.nan)}, "images: got nan"),
        ({"images": torch.ones(3, 3, 8, 8, dtype=torch.uint8)}, "images: got torch.uint8"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, object], said: str) -> None:
    arguments = {"images": torch.rand(3, 3, 8, 8), "samples": np.arange(3), "name": "fog", "severity": 1, **changes}
    with pytest.raises(ValueError, match=said):
        corrupt(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_half_precision_around_it_changes_nothing(name: str) -> None:
    images = noise_images(2, 16)
    expected = corrupt(images, np.arange(2), name, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(corrupt(images, np.arange(2), name, 3), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_a_gpu_makes_the_same_images(name: str) -> None:
    images = noise_images(4, 32)
    for severity in SEVERITIES:
        expected = corrupt(images, np.arange(4), name, severity)
        found = corrupt(images.cuda(), np.arange(4), name, severity).cpu()
        assert (found - expected).abs().max() < 1.01 / 255 and float((found != expected).float().mean()) < 0.01
