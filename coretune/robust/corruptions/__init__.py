"""The fifteen common corruptions of ImageNet-C at five severities, made on the fly.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
arXiv 1903.12261. Written anew from the published description and code (Apache-2.0) for batches of tensors; the images
are equal to the published ones in distribution, not bit by bit, but for `frost`, whose photographs are not at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.draws import sample_uniforms
from coretune.robust.corruptions import blur, digital, noise, weather
from coretune.robust.corruptions.filters import quantised
from coretune.robust.corruptions.plasma import plasma_draws
from coretune.robust.corruptions.tables import TABLES, SeverityTable, table_for
from coretune.tuning.arguments import bad_argument, check_between, check_choice, check_tensor

__all__ = ["CORRUPTIONS", "SEVERITIES", "TABLES", "Corruption", "SeverityTable", "corrupt", "table_for"]

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 4
"""Pixels of a side, below which not every corruption has a meaning."""


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        group: noise, blur, weather or digital.
        apply: (images, draws, level) → images.
        draws: How many uniform numbers an image of a side takes at a level.
    """

    group: str
    apply: Callable[[Tensor, Tensor, Any], Tensor]
    draws: Callable[[int, Any], int] = lambda side, level: 0


def _per_value(side: int, level: Any) -> int:
    return 3 * side * side


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption("noise", noise.gaussian_noise, _per_value),
    "shot_noise": Corruption("noise", noise.shot_noise, _per_value),
    "impulse_noise": Corruption("noise", noise.impulse_noise, _per_value),
    "defocus_blur": Corruption("blur", blur.defocus_blur),
    "glass_blur": Corruption("blur", blur.glass_blur, blur.glass_draws),
    "motion_blur": Corruption("blur", blur.motion_blur, lambda side, level: 1),
    "zoom_blur": Corruption("blur", blur.zoom_blur),
    "snow": Corruption("weather", weather.snow, lambda side, level: weather.snow_draws(side)),
    "frost": Corruption("weather", weather.frost, lambda side, level: weather.frost_draws(side)),
    "fog": Corruption("weather", weather.fog, lambda side, level: plasma_draws(side)),
    "brightness": Corruption("weather", weather.brightness),
    "contrast": Corruption("digital", digital.contrast),
    "elastic_transform": Corruption(
        "digital", digital.elastic_transform, lambda side, level: digital.elastic_draws(side)
    ),
    "pixelate": Corruption("digital", digital.pixelate),
    "jpeg_compression": Corruption("digital", digital.jpeg_compression),
}
"""By name, in the order of the paper."""


def corrupt(
    images: Tensor,
    samples: NDArray[np.int64],
    name: str,
    severity: int,
    *,
    seed: int = 0,
    table: SeverityTable | None = None,
) -> Tensor:
    """Returns corrupted images, (n, 3, s, s) float32 in [0, 1], multiples of 1/255.

    What is random in the corruption of an image follows from (seed, corruption, number of the image) alone: not from
    the batch, the device or the severity, so that severities differ in nothing else. The images are rounded to 8 bits
    first, and the result is cut to [0, 1] and rounded down to 8 bits, as the published ones are.

    Args:
        images: (n, 3, s, s) float32 in [0, 1], square, s ≥ 4.
        samples: (n,) numbers of the images, ≥ 0, e.g. their indices in a pack.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Of the draws.
        table: The parameters by severity; None takes `table_for(s)`.

    Raises:
        ValueError: An argument has a wrong shape, dtype or value.
    """
    _check(images, samples, name, severity)
    if not len(images):
        return images
    side = images.shape[-1]
    corruption = CORRUPTIONS[name]
    level = (table or table_for(side)).levels[name][severity - 1]
    columns = corruption.draws(side, level)
    drawn = torch.from_numpy(sample_uniforms(seed, f"corruption {name}", 0, samples, columns)).to(images.device)
    images = (images * 255).round() / 255
    return quantised(corruption.apply(images, drawn, level)).contiguous()


def _check(images: Tensor, samples: NDArray[np.int64], name: str, severity: int) -> None:
    check_choice("name", name, tuple(CORRUPTIONS))
    if severity not in SEVERITIES:
        raise bad_argument("severity", severity, "1, 2, 3, 4 or 5")
    if not len(images) == len(samples):
        raise bad_argument("samples", f"{len(samples)} numbers", f"{len(images)}, one per image")
    if not len(images):
        return
    check_tensor("images", images, "floating", ("n", 3, "s", "s"), images)
    if images.shape[2] != images.shape[3] or images.shape[2] < SMALLEST:
        raise bad_argument("images", f"{images.shape[2]}×{images.shape[3]} pixels", "a square of at least 4 pixels")
    check_between("images", images, 0, 1)
