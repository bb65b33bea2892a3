"""Each corruption against a slow version that is written out image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import poisson
from support import corrupting as slow
from torch import Tensor

from coretune.robust.corruptions import CORRUPTIONS, TABLES, blur
from coretune.robust.corruptions.filters import gaussian_matrix, zoom_matrix
from coretune.robust.corruptions.plasma import plasma, plasma_draws

torch.set_num_threads(1)

SIDE = 24
"""No power of two, and small enough for loops; the parameters of all tables have a meaning there."""

LEVELS = [(table, severity) for table in TABLES for severity in (1, 3, 5)]
by_level = pytest.mark.parametrize(
    ("table", "severity"), LEVELS, ids=[f"{table.name}-{severity}" for table, severity in LEVELS]
)


def made(name: str, table: Any, severity: int, side: int = SIDE, n: int = 2) -> tuple[Tensor, Tensor, Any, Tensor]:
    """Images, draws, the level, and what the corruption makes of them, before it is cut to 8 bits."""
    level = table.levels[name][severity - 1]
    images = slow.noise_images(n, side, seed=severity)
    draws = slow.uniform(n, CORRUPTIONS[name].draws(side, level), seed=7 * severity)
    return images, draws, level, CORRUPTIONS[name].apply(images, draws, level)


def close_but_for_rounding(found: Tensor, expected: list[Any], steps: int) -> None:
    """Equal but for values that float32 and float64 round to different 8-bit steps."""
    differences = (found.permute(0, 2, 3, 1).double() - torch.from_numpy(np.stack(expected))).abs()
    assert differences.max() < (steps + 0.01) / 255 and (differences > 1e-4).double().mean() < 0.01


def close(found: Tensor, expected: list[Any], atol: float = 2e-5) -> None:
    """Equal up to float32."""
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), np.stack(expected), rtol=0, atol=atol)


@by_level
def test_gaussian_noise(table: Any, severity: int) -> None:
    images, draws, sigma, found = made("gaussian_noise", table, severity)
    expected = images.double().numpy() + sigma * slow.normal(draws.double().numpy()).reshape(images.shape)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@by_level
def test_shot_noise(table: Any, severity: int) -> None:
    images, draws, photons, found = made("shot_noise", table, severity)
    draws.flatten()[:2] = torch.tensor([0.0, 1 - 2.0**-24])
    found = CORRUPTIONS["shot_noise"].apply(images, draws, photons)
    values = (images * 255).round().double().numpy().reshape(2, -1) / 255
    expected = poisson.ppf(draws.double().numpy() + slow.HALF, values * photons) / photons
    assert (np.abs(found.flatten(1).numpy() - expected) < 1e-5).all()


@by_level
def test_impulse_noise(table: Any, severity: int) -> None:
    images, draws, amount, found = made("impulse_noise", table, severity)
    for value, number, result in zip(images.flatten(), draws.flatten(), found.flatten(), strict=True):
        assert result == (0 if number < amount / 2 else 1 if number < amount else value)


@by_level
def test_defocus_blur(table: Any, severity: int) -> None:
    images, _, level, found = made("defocus_blur", table, severity)
    close(found, [slow.defocus(slow.shown(image), *level) for image in images])
    assert blur.disk(*level).sum() == pytest.approx(slow.disk(*level).sum())


@by_level
def test_glass_blur(table: Any, severity: int) -> None:
    images, draws, level, found = made("glass_blur", table, severity)
    expected = [slow.glass(slow.shown(image), row.tolist(), *level) for image, row in zip(images, draws, strict=True)]
    close_but_for_rounding(found, expected, 1)


@by_level
def test_motion_blur(table: Any, severity: int) -> None:
    images, draws, level, found = made("motion_blur", table, severity)
    expected = [
        slow.motion(slow.shown(image), 90 * float(row) - 45, *level) for image, row in zip(images, draws, strict=True)
    ]
    close_but_for_rounding(found, expected, 1)


@by_level
def test_zoom_blur(table: Any, severity: int) -> None:
    images, _, factors, found = made("zoom_blur", table, severity)
    expected = []
    for image in images:
        layers = [slow.shown(image), *(slow.zoomed(slow.shown(image), factor) for factor in factors)]
        expected.append(sum(layers) / len(layers))
    close(found, expected)


@by_level
def test_snow(table: Any, severity: int) -> None:
    images, draws, level, found = made("snow", table, severity)
    expected = [
        slow.snow(slow.shown(image), row.double().numpy(), level) for image, row in zip(images, draws, strict=True)
    ]
    close_but_for_rounding(found, expected, 2)


@by_level
def test_fog(table: Any, severity: int) -> None:
    images, draws, (amount, decay), found = made("fog", table, severity)
    expected = []
    for image, row in zip(images, draws, strict=True):
        values = slow.shown(image)
        hazy = values + amount * slow.plasma(row.tolist(), SIDE, decay)[..., None]
        expected.append(hazy * values.max() / (values.max() + amount))
    close(found, expected, atol=1e-4)


@by_level
def test_frost(table: Any, severity: int) -> None:
    images, draws, (kept, added), found = made("frost", table, severity)
    expected = []
    dark, bright = np.array([0.24, 0.31, 0.40]), np.array([0.93, 0.96, 1.0])
    for image, row in zip(images, draws, strict=True):
        ridges = [1 - abs(2 * slow.plasma(part.tolist(), SIDE, 1.7) - 1) for part in row.chunk(2)]
        ice = dark + (bright - dark) * (np.maximum(*ridges) ** 3)[..., None]
        expected.append(kept * slow.shown(image) + added * ice)
    close(found, expected, atol=1e-4)


@by_level
def test_brightness(table: Any, severity: int) -> None:
    images, _, added, _ = made("brightness", table, severity)
    images[:, :, 0, 0] = 0
    images[:, :, 0, 1] = torch.tensor([0.0, 1.0, 0.4])
    found = CORRUPTIONS["brightness"].apply(images, slow.uniform(2, 0), added)
    close(found, [slow.brighter(slow.shown(image), added) for image in images])


@by_level
def test_contrast(table: Any, severity: int) -> None:
    images, _, factor, found = made("contrast", table, severity)
    pictures = [slow.shown(image) for image in images]
    means = [np.array([picture[..., c].mean() for c in range(3)]) for picture in pictures]
    close(found, [(picture - mean) * factor + mean for picture, mean in zip(pictures, means, strict=True)])


@by_level
def test_elastic_transform(table: Any, severity: int) -> None:
    images, draws, level, found = made("elastic_transform", table, severity)
    lengths = [share * SIDE for share in level]
    expected = [
        slow.elastic(slow.shown(image), row.double().numpy(), *lengths)
        for image, row in zip(images, draws, strict=True)
    ]
    close(found, expected, atol=1e-4)


def test_a_deformation_with_no_way_back_is_left_out() -> None:
    images = slow.noise_images(1, 8)
    draws = torch.full((1, 6 + 2 * 64), 0.5)
    assert torch.equal(CORRUPTIONS["elastic_transform"].apply(images, draws, (0, 0, 0)), images)
    draws[0, :6] = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.5, 1.0])
    flat = CORRUPTIONS["elastic_transform"].apply(images, draws, (0, 0, 0.5))
    assert bool(flat.isfinite().all())


def test_pixelate_averages_boxes() -> None:
    images = slow.noise_images(2, SIDE)
    found = CORRUPTIONS["pixelate"].apply(images, slow.uniform(2, 0), 0.5)
    boxes = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    expected = boxes.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert (found - expected).abs().max() <= 1.01 / 255  # Pillow rounds rows, then columns


def test_jpeg_compression_is_a_file_of_that_quality() -> None:
    images = slow.noise_images(1, 32)
    errors = [
        float((CORRUPTIONS["jpeg_compression"].apply(images, slow.uniform(1, 0), quality) - images).square().mean())
        for quality in (100, 80, 40, 10, 1)
    ]
    assert errors == sorted(errors) and errors[0] < 3e-3
    flat = torch.full((1, 3, 16, 16), 100 / 255)
    assert torch.allclose(CORRUPTIONS["jpeg_compression"].apply(flat, slow.uniform(1, 0), 80), flat, atol=1.01 / 255)


@pytest.mark.parametrize("side", [2, 5, 16, 33])
@pytest.mark.parametrize("decay", [1.4, 3.0])
def test_clouds_are_those_of_diamonds_and_squares(side: int, decay: float) -> None:
    draws = slow.uniform(2, plasma_draws(side), seed=side).double()
    expected = [slow.plasma(row.tolist(), side, decay) for row in draws]
    np.testing.assert_allclose(plasma(draws, side, decay).numpy(), np.stack(expected), atol=1e-12)


@pytest.mark.parametrize("sigma", [0, 0.05, 0.4, 1.5, 9.0])
@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("mirror", "reflect"), ("reflect", "mirror")])
def test_filters_as_matrices_are_those_of_scipy(sigma: float, border: Any, mode: str) -> None:
    line = np.random.default_rng(0).random(11)
    expected = ndimage.gaussian_filter1d(line, sigma, mode=mode, truncate=3.0) if sigma else line
    np.testing.assert_allclose(gaussian_matrix(11, sigma, border, 3.0) @ line, expected, atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.25, 2.0, 4.5])
@pytest.mark.parametrize("side", [4, 24, 31])
def test_a_zoom_is_that_of_scipy(factor: float, side: int) -> None:
    image = np.random.default_rng(0).random((side, side, 1))
    matrix = zoom_matrix(side, factor)
    np.testing.assert_allclose(matrix @ image[..., 0] @ matrix.T, slow.zoomed(image, factor)[..., 0], atol=1e-9)
