"""Colour: jitter of brightness, contrast, saturation and hue, then grey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor

from coretune.data.augment.columns import BRIGHTNESS, CONTRAST, GREY, HUE, JITTER, ORDER, SATURATION
from coretune.data.augment.pixels import change_where, constant, per_sample
from coretune.spec.augment import AugmentSpec

LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601 luma, as torchvision has it."""
PHASES = (3 / 6, 1 / 6, -1 / 6)
"""Turns from the hue at which red, green, blue is least to the origin of hue; least at cyan, magenta, yellow."""


def recolour(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    """Jitters the colours of a share of the images, then makes a share grey, as RandomApply and RandomGrayscale do.

    Args:
        images: (n, 3, H, W) float in [0, 1].
        draws: (n, columns) uniform in [0, 1).
        spec: Strengths and shares.

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    steps = [step for strength, step in zip(_strengths(spec), STEPS, strict=True) if strength > 0]
    jittered = images
    if spec.jitter_order == "shuffled" and len(steps) > 1:
        jittered = _shuffled(jittered, draws, spec, steps)
    else:
        for step in steps:
            jittered = step(jittered, draws, spec)
    if spec.jitter_probability < 1:
        jittered = torch.where(per_sample(draws[:, JITTER] < spec.jitter_probability), jittered, images)
    if spec.grey > 0:
        jittered = torch.where(per_sample(draws[:, GREY] < spec.grey), _luma(jittered), jittered)
    return jittered


def _strengths(spec: AugmentSpec) -> tuple[float, ...]:
    return spec.brightness, spec.contrast, spec.saturation, spec.hue


def _brightness(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    """Blends with black."""
    return (images * _factor(draws[:, BRIGHTNESS], spec.brightness)).clamp_(0, 1)


def _contrast(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    """Blends with the mean grey."""
    mean = _luma(images).mean((2, 3), keepdim=True)
    return torch.lerp(mean, images, _factor(draws[:, CONTRAST], spec.contrast)).clamp_(0, 1)


def _saturation(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    """Blends with each pixel's grey."""
    return torch.lerp(_luma(images), images, _factor(draws[:, SATURATION], spec.saturation)).clamp_(0, 1)


def _hue(images: Tensor, draws: Tensor, spec: AugmentSpec) -> Tensor:
    return turn_hue(images, (2 * draws[:, HUE] - 1) * spec.hue)


Step = Callable[[Tensor, Tensor, AugmentSpec], Tensor]
STEPS: tuple[Step, ...] = (_brightness, _contrast, _saturation, _hue)
"""torchvision's `adjust_*`, with factors uniform in 1 ± strength, the hue's turn uniform in ± `hue`."""


def _shuffled(images: Tensor, draws: Tensor, spec: AugmentSpec, steps: Sequence[Step]) -> Tensor:
    """Takes the steps in an order of each sample's own, all orders alike, as torchvision's ColorJitter does."""
    orders = tuple(permutations(range(len(steps))))
    table = constant(tuple(float(number) for order in orders for number in order), images.device).view(len(orders), -1)
    chosen = table[(draws[:, ORDER] * len(orders)).long().clamp_(max=len(orders) - 1)]
    for turn in range(len(steps)):
        for number, step in enumerate(steps):
            images = change_where(chosen[:, turn] == number, images, draws, _with(spec, step))
    return images


def _with(spec: AugmentSpec, step: Step) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, draws: step(images, draws, spec)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Adds to the hue of each image, by RGB → HSV → RGB without the branches of its six sectors.

    With M and m a pixel's greatest and least channel, hue h in turns, and d(x) = |x - round x| the distance to the
    nearest whole turn, the channel of phase φ is M - (M - m) · clip(2 - 6 d(h + φ), 0, 1), φ = 1/2, 1/6, -1/6 for red,
    green, blue (the closed form of HSV → RGB, k = 6 (h + φ) + 2). Grey pixels, black among them, have hue 0 and stay
    what they are; results lie in [m, M].

    Args:
        images: (n, 3, H, W) in [0, 1].
        turns: (n,) added to the hue, in turns; torchvision's `hue_factor`, but of any size.

    Returns:
        (n, 3, H, W).
    """
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    most = torch.maximum(torch.maximum(red, green), blue)
    chroma = most - torch.minimum(torch.minimum(red, green), blue)
    # Sector by sector 6h = (g - b)/(M - m), 2 + (b - r)/(M - m), 4 + (r - g)/(M - m); where two channels are greatest
    # their sectors agree, up to a whole turn.
    is_red, is_green = most == red, most == green
    ahead = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    sector = torch.where(is_red, 0.0, torch.where(is_green, 1 / 3, 2 / 3))
    hue = (ahead / chroma.clamp(min=torch.finfo(chroma.dtype).tiny)).div_(6).add_(sector)
    angle = hue + (turns.view(-1, 1, 1, 1) + constant(PHASES, images.device).view(1, 3, 1, 1))
    share = angle.sub_(angle.round()).abs_().mul_(-6).add_(2).clamp_(0, 1)
    return torch.addcmul(most, chroma, share, value=-1)


def _luma(images: Tensor) -> Tensor:
    """Returns the grey of each pixel, (n, 1, H, W)."""
    return (images * constant(LUMA, images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _factor(draws: Tensor, strength: float) -> Tensor:
    return per_sample(1 + (2 * draws - 1) * strength)
