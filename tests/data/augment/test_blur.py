from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.augmenting import drawn, fixed, noise
from torchvision.transforms.v2 import functional as reference

from coretune.data.augment import augment, to_float
from coretune.data.augment.blur import gaussian_blur
from coretune.data.augment.columns import BLUR, SIGMA
from coretune.spec.augment import AugmentSpec

torch.set_num_threads(1)


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_each_image_is_blurred_as_torchvision_blurs_it(radius: int) -> None:
    images = to_float(noise(6, 17))
    sigma = torch.tensor([0.1, 0.3, 1.0, 1.7, 2.0, 30.0])
    found = gaussian_blur(images, sigma, radius)
    for image, s, result in zip(images, sigma.tolist(), found, strict=True):
        expected = reference.gaussian_blur(image, [2 * radius + 1] * 2, [s, s])
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_a_gaussian_is_what_a_point_becomes() -> None:
    """k_j = exp(−j² / 2σ²) / Σ_i exp(−i² / 2σ²), in both directions."""
    image = torch.zeros(1, 3, 11, 11)
    image[..., 5, 5] = 1
    line = torch.tensor([math.exp(-(j**2) / (2 * 1.3**2)) if abs(j) <= 4 else 0.0 for j in range(-5, 6)])
    line /= line.sum()
    found = gaussian_blur(image, torch.tensor([1.3]), 4)
    torch.testing.assert_close(found[0, 1], torch.outer(line, line), atol=1e-7, rtol=0)


@given(st.integers(0, 1000), st.floats(0.05, 20), st.integers(1, 7))
def test_a_blur_keeps_plain_images_and_the_range(seed: int, sigma: float, radius: int) -> None:
    images = to_float(noise(3, 8, seed))
    found = gaussian_blur(images, torch.full((3,), sigma), radius)
    assert (found.amin((2, 3)) >= images.amin((2, 3)) - 1e-6).all()
    assert (found.amax((2, 3)) <= images.amax((2, 3)) + 1e-6).all()
    plain = torch.full((1, 3, 8, 8), 0.37)
    torch.testing.assert_close(gaussian_blur(plain, torch.tensor([sigma]), radius), plain, atol=1e-6, rtol=0)


def test_sigma_is_uniform_in_its_range_and_the_kernel_as_asked() -> None:
    images, draws = noise(30, 16), drawn(30)
    spec = AugmentSpec(blur=1.0, blur_sigma=(0.5, 1.5), blur_kernel=5)
    found = augment(images, draws, spec)
    for image, draw, result in zip(to_float(images), draws[:, SIGMA].tolist(), found, strict=True):
        expected = reference.gaussian_blur(image, [5, 5], [0.5 + draw] * 2)
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_the_kernel_reaches_three_standard_deviations_unless_its_width_is_said() -> None:
    assert AugmentSpec().kernel == 13
    assert AugmentSpec(blur_sigma=(0.1, 0.2)).kernel == 3
    assert AugmentSpec(blur_kernel=23).kernel == 23


def test_a_kernel_that_no_one_asked_for_fits_a_small_image() -> None:
    images = noise(4, 5)
    found = augment(images, fixed(4, blur=0.0, sigma=0.5), AugmentSpec(blur=0.5, blur_sigma=(2.0, 2.0)))
    torch.testing.assert_close(found, reference.gaussian_blur(to_float(images), [9, 9], [2.0, 2.0]), atol=1e-6, rtol=0)


def test_so_many_samples_are_blurred_and_the_others_keep_their_pixels() -> None:
    n = 2000
    images, draws = noise(n, 4), drawn(n)
    found = augment(images, draws, AugmentSpec(blur=0.3, blur_sigma=(1.0, 2.0)))
    same = (found == to_float(images)).flatten(1).all(1)
    assert torch.equal(~same, draws[:, BLUR] < 0.3)
    assert stats.binomtest(int((~same).sum()), n, 0.3).pvalue > 1e-3
    assert torch.equal(augment(images, draws, AugmentSpec(blur_sigma=(1.0, 2.0))), to_float(images))
