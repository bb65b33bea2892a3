from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from support.augmenting import drawn, fixed, noise
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from coretune.data.augment import augment, to_float
from coretune.data.augment.columns import FLIP, VERTICAL
from coretune.spec.augment import AugmentSpec

torch.set_num_threads(1)


def test_flips_are_exact_mirrors_of_half_the_images() -> None:
    images = noise(500, 4)
    draws = drawn(500)
    found = augment(images, draws, AugmentSpec(flip=True))
    mirrored = draws[:, FLIP] < 0.5
    assert torch.equal(found[mirrored], to_float(images)[mirrored].flip(-1))
    assert torch.equal(found[~mirrored], to_float(images)[~mirrored])
    assert 200 < int(mirrored.sum()) < 300


@pytest.mark.parametrize(("draw", "turns"), [(0.25, -1), (0.5, 0), (0.75, 1), (0.0, 2)])
def test_quarter_turns_are_exact(draw: float, turns: int) -> None:
    images = noise(4, 7)
    found = augment(images, fixed(4, angle=draw), AugmentSpec(rotation=180))
    torch.testing.assert_close(found, torch.rot90(to_float(images), turns, (2, 3)), atol=1e-5, rtol=0)


def test_rotation_agrees_with_torchvision_away_from_the_border() -> None:
    smooth = torch.nn.functional.avg_pool2d(to_float(noise(3, 40)), 5, 1, 2)
    images = (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    found = augment(images, fixed(3, angle=0.75), AugmentSpec(rotation=40))
    expected = reference.rotate(to_float(images), 20.0, interpolation=v2.InterpolationMode.BILINEAR)
    inside = (slice(None), slice(None), slice(10, 30), slice(10, 30))
    torch.testing.assert_close(found[inside], expected[inside], atol=2e-3, rtol=0)


def test_rotation_fills_by_reflection_not_by_black() -> None:
    found = augment(torch.full((2, 12, 12, 3), 200, dtype=torch.uint8), drawn(2), AugmentSpec(rotation=45))
    torch.testing.assert_close(found, torch.full_like(found, 200 / 255))


@pytest.mark.parametrize("spec", [AugmentSpec(), AugmentSpec(crop_scale=(0.99, 1.0))])
def test_shrinking_is_antialiased(spec: AugmentSpec) -> None:
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 255).to(torch.uint8)
    images = board[None, :, :, None].expand(4, -1, -1, 3).contiguous()
    inner = augment(images, drawn(4), spec, 8)[:, :, 1:-1, 1:-1]
    assert (inner - 0.5).abs().max() < 0.1


def test_upside_down_is_an_exact_mirror_of_half_the_images_whatever_else_is_flipped() -> None:
    images, draws = noise(500, 4), drawn(500)
    found = augment(images, draws, AugmentSpec(flip=True, vertical_flip=True))
    upside, mirrored = draws[:, VERTICAL] < 0.5, draws[:, FLIP] < 0.5
    expected = torch.stack(
        [
            image.flip([d for d, turned in ((1, up), (2, mirror)) if turned])
            for image, up, mirror in zip(to_float(images), upside.tolist(), mirrored.tolist(), strict=True)
        ]
    )
    assert torch.equal(found, expected)
    cases = np.bincount((2 * upside + mirrored.int()).numpy(), minlength=4)
    assert stats.chisquare(cases).pvalue > 1e-3


MOVES = [
    AugmentSpec(rotation=20),
    AugmentSpec(crop_scale=(0.3, 0.8)),
    AugmentSpec(rotation=20, crop_scale=(0.3, 0.8)),
]


@pytest.mark.parametrize("spec", MOVES)
@pytest.mark.parametrize("size", [None, 7])
def test_flips_come_last(spec: AugmentSpec, size: int | None) -> None:
    images, draws = noise(40, 12), drawn(40)
    unflipped = augment(images, draws, spec, size)
    upside, mirrored = draws[:, VERTICAL] < 0.5, draws[:, FLIP] < 0.5
    expected = torch.where(upside.view(-1, 1, 1, 1), unflipped.flip(2), unflipped)
    expected = torch.where(mirrored.view(-1, 1, 1, 1), expected.flip(3), expected)
    found = augment(images, draws, spec.replace(flip=True, vertical_flip=True), size)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 0.2, 0.61, 0.97])
def test_rotation_into_black_is_torchvision_s(angle: float) -> None:
    images = noise(3, 21)
    found = augment(images, fixed(3, angle=angle), AugmentSpec(rotation=50, rotation_fill="black"))
    turn = (2 * angle - 1) * 50
    expected = reference.rotate(to_float(images), turn, interpolation=v2.InterpolationMode.BILINEAR)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [7, 30])
@pytest.mark.parametrize("spec", [AugmentSpec(), AugmentSpec(rotation=20)])
def test_without_a_crop_the_whole_image_is_resized(size: int, spec: AugmentSpec) -> None:
    images, draws = noise(5, 16), drawn(5)
    expected = reference.resize(
        augment(images, draws, spec), [size, size], v2.InterpolationMode.BICUBIC, antialias=True
    )
    torch.testing.assert_close(augment(images, draws, spec, size), expected.clamp(0, 1), atol=1e-6, rtol=0)
