from __future__ import annotations

import pytest
import torch
from support.augmenting import noise
from torchvision.transforms import v2

from coretune.data.augment import plain, to_float
from coretune.spec.augment import Sides, ViewSpec, sides

torch.set_num_threads(1)


SIDES = [(12, 8), (12, 12), (8, 8), (17, 12), (17, 17), (9, 4), (30, 12), (13, 12)]


@pytest.mark.parametrize(("resize", "crop"), SIDES)
def test_a_view_is_torchvision_s_resize_and_centre_crop(resize: int, crop: int) -> None:
    images = noise(5, 12)
    transform = v2.Compose(
        [v2.Resize(resize, interpolation=v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(crop)]
    )
    found = plain(images, Sides(resize, crop))
    torch.testing.assert_close(found, transform(to_float(images)).clamp(0, 1), atol=1e-6, rtol=0)
    assert torch.equal(plain(to_float(images), Sides(resize, crop)), found)


def test_what_changes_nothing_is_exact() -> None:
    images = noise(5, 12)
    for view in (None, Sides(12, 12)):
        assert torch.equal(plain(images, view), to_float(images))
    assert torch.equal(plain(images, Sides(12, 8)), to_float(images)[..., 2:10, 2:10])
    assert plain(images[:0], Sides(9, 8)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (None, (224, 224)),
        (ViewSpec(resize=256), (256, 224)),
        (ViewSpec(crop=288), (288, 288)),
        (ViewSpec(resize=320, crop=288), (320, 288)),
    ],
)
def test_sides_that_are_not_said_follow_from_the_others(view: ViewSpec | None, expected: tuple[int, int]) -> None:
    assert sides(view, 224) == expected
