"""Corruptions written out slowly, image by image, with scipy, Pillow and loops; images to corrupt."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import norm
from torch import Tensor

Array = NDArray[np.float64]
HALF = 2.0**-25


def noise_images(n: int, side: int, seed: int = 0) -> Tensor:
    """Smooth colours with noise on them, 8 bits: (n, 3, side, side)."""
    draws = np.random.default_rng(seed)
    rough = draws.random((n, 3, side, side))
    smooth = ndimage.gaussian_filter(rough, (0, 0, side / 8, side / 8))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return torch.from_numpy(np.round(255 * (0.8 * smooth + 0.2 * rough)) / 255).float()


def uniform(n: int, columns: int, seed: int = 1) -> Tensor:
    """Uniform numbers, multiples of 2**-24."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2**24, (n, columns)) * 2.0**-24).float()


def normal(draws: Array) -> Array:
    """Standard normal numbers of uniform ones."""
    return np.asarray(norm.ppf(draws + HALF))


def shown(image: Tensor) -> Array:
    """An image as rows, columns, colours."""
    return image.permute(1, 2, 0).double().numpy()


def down_to_8_bits(values: Array) -> Array:
    """Values as after a cast to uint8."""
    return np.floor(values.clip(0, 1) * 255 + 1e-3) / 255


def disk(radius: float, alias_blur: float) -> Array:
    """The kernel of an out-of-focus lens, in full."""
    reach, size = (8, 3) if radius <= 8 else (int(radius), 5)
    sharp = np.array(
        [[float(x * x + y * y <= radius * radius) for x in range(-reach, reach + 1)] for y in range(-reach, reach + 1)]
    )
    weights = np.array([math.exp(-(i**2) / (2 * alias_blur**2)) for i in range(-(size // 2), size // 2 + 1)])
    found = sharp / sharp.sum()
    for line in (0, 1):
        found = ndimage.correlate1d(found, weights / weights.sum(), axis=line, mode="mirror")
    return np.asarray(found)


def defocus(image: Array, radius: float, alias_blur: float) -> Array:
    """Each colour filtered by the disk."""
    kernel = disk(radius, alias_blur)
    return np.stack([ndimage.correlate(image[..., c], kernel, mode="mirror") for c in range(3)], axis=2)


def glass(image: Array, draws: list[float], sigma: float, shift: int, rounds: int) -> Array:
    """Blurred, each pixel replaced by a near one in turn, blurred."""
    side = len(image)

    def blurred(values: Array) -> Array:
        return np.asarray(ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="nearest", truncate=4.0))

    found = down_to_8_bits(blurred(image))
    numbers = iter(draws)
    for _ in range(rounds):
        for row in range(side - shift, shift, -1):
            for column in range(side - shift, shift, -1):
                right, down = (math.floor(next(numbers) * 2 * shift) - shift for _ in range(2))
                found[row, column] = found[row + down, column + right]
    return blurred(found)


def motion(image: Array, degrees: float, radius: int, sigma: float) -> Array:
    """Pixel by pixel, as ImageMagick does it."""
    side, angle = len(image), math.radians(degrees)
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    found = np.zeros_like(image)
    for row in range(side):
        for column in range(side):
            for i, weight in enumerate(weights):
                down, right = math.ceil(i * math.sin(angle) - 0.5), math.ceil(i * math.cos(angle) - 0.5)
                source = min(max(row + down, 0), side - 1), min(max(column + right, 0), side - 1)
                found[row, column] += weight / sum(weights) * image[source]
    return np.round(found * 255) / 255


def zoomed(image: Array, factor: float) -> Array:
    """The centre, enlarged by scipy and trimmed."""
    side = len(image)
    inner = math.ceil(side / factor)
    start = (side - inner) // 2
    large = ndimage.zoom(
        image[start : start + inner, start : start + inner], (factor, factor, 1), order=1, mode="nearest"
    )
    trim = (len(large) - side) // 2
    return np.asarray(large[trim : trim + side, trim : trim + side])


def plasma(draws: list[float], side: int, decay: float) -> Array:
    """Diamond and square, point by point on a torus."""
    whole = 2
    while whole < side:
        whole *= 2
    heights = {(0, 0): 0.0}
    numbers, step, roughness = iter(draws), whole, 100.0

    def middle(*neighbours: tuple[int, int]) -> float:
        mean = sum(heights[y % whole, x % whole] for y, x in neighbours) / 4
        return mean + roughness * roughness * (2 * next(numbers) - 1)

    while step >= 2:
        half = step // 2
        for y in range(0, whole, step):
            for x in range(0, whole, step):
                corners = ((y, x), (y + step, x), (y, x + step), (y + step, x + step))
                heights[y + half, x + half] = middle(*corners)
        edges = {}
        for top, left in ((0, half), (half, 0)):
            for y in range(top, whole, step):
                for x in range(left, whole, step):
                    edges[y, x] = middle((y - half, x), (y + half, x), (y, x - half), (y, x + half))
        heights.update(edges)
        step, roughness = half, roughness / decay
    found = np.array([[heights[y, x] for x in range(whole)] for y in range(whole)])
    found = (found - found.min()) / (found.max() - found.min())
    return np.asarray(found[:side, :side])


def snow(image: Array, draws: Array, level: tuple[float, float, float, float, int, float, float]) -> Array:
    """Flakes over a paler image."""
    mean, deviation, zoom, threshold, radius, sigma, kept = level
    side = len(image)
    flakes = zoomed((mean + deviation * normal(draws[:-1])).reshape(side, side, 1), zoom)
    flakes[flakes < threshold] = 0
    flakes = motion(down_to_8_bits(flakes), 90 * float(draws[-1]) - 135, radius, sigma)
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    pale = kept * image + (1 - kept) * np.maximum(image, 1.5 * grey + 0.5)
    return np.asarray(pale + flakes + np.rot90(flakes, k=2))


def brighter(image: Array, added: float) -> Array:
    """By hue, saturation and value."""
    found = np.zeros_like(image)
    for place in np.ndindex(*image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
        found[place] = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + added))
    return found


def elastic(image: Array, draws: Array, reach: float, sigma: float, shift: float) -> Array:
    """Two resamplings by scipy; reach, sigma and shift in pixels."""
    side = len(image)
    middle, third = side // 2, side // 3
    corners = np.array(
        [[middle + third, middle + third], [middle + third, middle - third], [middle - third, middle - third]]
    )
    after = corners + shift * (2 * draws[:6].reshape(3, 2) - 1)
    y, x = np.mgrid[:side, :side].astype(float)
    matrix = np.linalg.solve(np.c_[after, np.ones(3)], corners.astype(float))  # (x, y, 1) → where it was
    was = np.stack([x, y, np.ones_like(x)], axis=2) @ matrix

    def sampled(values: Array, rows: Array, columns: Array, mode: str) -> Array:
        layers = [ndimage.map_coordinates(values[..., c], [rows, columns], order=1, mode=mode) for c in range(3)]
        return np.stack(layers, axis=2)

    moved = sampled(image, was[..., 1], was[..., 0], "mirror")
    noise = (2 * draws[6:] - 1).reshape(2, side, side)
    dx, dy = (reach * ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3.0) for field in noise)
    return sampled(moved, y + dy, x + dx, "reflect")
