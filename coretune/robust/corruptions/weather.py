"""Snow, frost, fog and brightness.

Images are (n, 3, s, s) in [0, 1], multiples of 1/255; draws (n, m) in [0, 1). Results may leave [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from coretune.robust.corruptions.blur import along
from coretune.robust.corruptions.filters import quantised, separable, zoom_matrix
from coretune.robust.corruptions.noise import normal
from coretune.robust.corruptions.plasma import plasma, plasma_draws

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey value (ITU-R BT.601), as in OpenCV."""

ICE_DARK, ICE_BRIGHT = (0.24, 0.31, 0.40), (0.93, 0.96, 1.0)
ICE_DECAY = 1.7
"""Colours (red, green, blue) and smoothness of the frost that is made here."""


def snow_draws(side: int) -> int:
    """Returns how many numbers `snow` draws for an image: one per pixel, and the direction of the wind."""
    return side * side + 1


def snow(images: Tensor, draws: Tensor, level: tuple[float, float, float, float, int, float, float]) -> Tensor:
    """Returns paler images with flakes of zoomed noise, blurred by their motion, once and upside down.

    Args:
        images: The images.
        draws: (n, snow_draws(s)).
        level: Mean, deviation, zoom and threshold of the flakes, radius and sigma of their motion (−135° to −45°), and
            the share of the image that is not made paler.
    """
    mean, deviation, zoom, threshold, radius, sigma, kept = level
    side = images.shape[-1]
    noise = mean + deviation * normal(draws[:, :-1]).view(-1, 1, side, side)
    flakes = separable(noise, zoom_matrix(side, zoom))
    flakes = quantised(torch.where(flakes < threshold, 0.0, flakes))
    flakes = along(flakes, 90 * draws[:, -1] - 135, radius, sigma)
    luma = torch.tensor(LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    pale = torch.maximum(images, 1.5 * (images * luma).sum(1, keepdim=True) + 0.5)
    return kept * images + (1 - kept) * pale + flakes + flakes.flip((2, 3))


def frost_draws(side: int) -> int:
    """Returns how many numbers `frost` draws for an image: those of two clouds."""
    return 2 * plasma_draws(side)


def frost(images: Tensor, draws: Tensor, level: tuple[float, float]) -> Tensor:
    """Returns sums of images and frost, in the published shares. **The frost is not the published one.**

    ImageNet-C adds crops of six photographs of frozen windows, which coretune does not ship. Here the frost is drawn:
    sharp bright ridges where either of two clouds p, q crosses its middle height, between the colours of ice,

        t = max(1 − |2 p − 1|, 1 − |2 q − 1|)³.

    Args:
        images: The images.
        draws: (n, frost_draws(s)).
        level: Shares of the image and of the frost.
    """
    kept, added = level
    side = images.shape[-1]
    clouds = [plasma(part, side, ICE_DECAY) for part in draws.chunk(2, dim=1)]
    ridges = torch.stack([1 - (2 * cloud - 1).abs() for cloud in clouds]).amax(dim=0)[:, None] ** 3
    dark, bright = (torch.tensor(colour, device=images.device).view(1, 3, 1, 1) for colour in (ICE_DARK, ICE_BRIGHT))
    return kept * images + added * (dark + (bright - dark) * ridges)


def fog(images: Tensor, draws: Tensor, level: tuple[float, float]) -> Tensor:
    """Returns images behind clouds: (x + a p) m / (m + a), m the largest value of the image.

    Args:
        images: The images.
        draws: (n, plasma_draws(s)).
        level: Amount a, and decay of the clouds' roughness.
    """
    amount, decay = level
    most = images.amax((1, 2, 3), keepdim=True)
    clouds = plasma(draws, images.shape[-1], decay)[:, None]
    return (images + amount * clouds) * most / (most + amount)


def brightness(images: Tensor, draws: Tensor, added: float) -> Tensor:
    """Returns images whose value (the largest of red, green and blue) is higher; hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    higher = (value + added).clamp(0, 1)
    return torch.where(value > 0, images * (higher / value.clamp_min(1e-12)), higher)
