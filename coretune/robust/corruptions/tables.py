"""The severities of the fifteen corruptions: three tables, for images of about 32, 64 and 224 pixels.

They are those of CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261;
github.com/hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py). Radii and shifts are in
pixels of these sizes and are not scaled to others; those of `elastic_transform` are shares of the side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Levels = tuple[Any, ...]


@dataclass(frozen=True)
class SeverityTable:
    """The parameters of all corruptions by severity.

    Attributes:
        name: Of the benchmark.
        side: Pixels of the images that it was made for.
        levels: By corruption, the parameters of severities 1 to 5.
    """

    name: str
    side: int
    levels: Mapping[str, Levels]


def table_for(side: int) -> SeverityTable:
    """Returns the table that is nearest to a side in pixels, by ratio: up to 45, up to 119, and above."""
    return min(TABLES, key=lambda table: abs(np.log(side / table.side)))


def _zooms(*ends: tuple[float, float]) -> Levels:
    return tuple(tuple(np.arange(1, end, step).tolist()) for end, step in ends)


_SMALL_ZOOMS = _zooms((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
_TYPO = 244 / 224
"""ImageNet-C writes 244 where it means the side, 224."""

TABLES = (
    SeverityTable(
        "CIFAR-10-C",
        32,
        {
            "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
            "shot_noise": (500, 250, 100, 75, 50),  # photons of a white pixel
            "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of the values
            "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, sigma of its edge
            "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),  # sigma, shift, rounds
            "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, sigma
            "zoom_blur": _SMALL_ZOOMS,
            # mean, deviation, zoom, threshold of the flakes; radius, sigma of their motion; share of the image
            "snow": (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
            "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # shares of image and frost
            "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # amount, decay of the roughness
            "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added value (HSV)
            "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor
            # displacement, its sigma, shift of the corners: shares of the side
            "elastic_transform": (
                (0, 0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            ),
            "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # factor of the side
            "jpeg_compression": (80, 65, 58, 50, 40),  # quality
        },
    ),
    SeverityTable(
        "Tiny-ImageNet-C",
        64,
        {
            "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
            "shot_noise": (250, 100, 50, 30, 15),
            "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
            "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
            "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
            "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
            "zoom_blur": _SMALL_ZOOMS,
            "snow": (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
            ),
            "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
            "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
            "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
            "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
            "elastic_transform": (
                (0, 0, 0.08),
                (0.05, 0.3, 0.06),
                (0.1, 0.08, 0.06),
                (0.1, 0.03, 0.03),
                (0.16, 0.03, 0.02),
            ),
            "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
            "jpeg_compression": (65, 58, 50, 40, 25),
        },
    ),
    SeverityTable(
        "ImageNet-C",
        224,
        {
            "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
            "shot_noise": (60, 25, 12, 5, 3),
            "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
            "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
            "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
            "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
            "zoom_blur": _zooms((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
            "snow": (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
            "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
            "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
            "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
            "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
            "elastic_transform": (
                (2 * _TYPO, 0.7 * _TYPO, 0.1 * _TYPO),
                (2 * _TYPO, 0.08 * _TYPO, 0.2 * _TYPO),
                (0.05 * _TYPO, 0.01 * _TYPO, 0.02 * _TYPO),
                (0.07 * _TYPO, 0.01 * _TYPO, 0.02 * _TYPO),
                (0.12 * _TYPO, 0.01 * _TYPO, 0.02 * _TYPO),
            ),
            "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
            "jpeg_compression": (25, 18, 15, 10, 7),
        },
    ),
)
