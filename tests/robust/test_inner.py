"""Balls, and the ascent within them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torchattacks
from scipy import stats
from torch import nn

from coretune.robust.draws import normal_of
from coretune.robust.inner import climb, start_draws, uniform_start
from coretune.robust.threat import ThreatModel
from coretune.spec.epsilon import Norm

NORMS: tuple[Norm, ...] = ("linf", "l2")


def ball(norm: Norm, eps: float) -> ThreatModel:
    return ThreatModel(norm, Fraction(eps))


@pytest.mark.parametrize("norm", NORMS)
def test_on_a_linear_function_the_ascent_ends_at_the_known_maximum(norm: Norm) -> None:
    draws = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 4, 4, generator=draws, dtype=torch.float64)
    centres = 0.4 + 0.2 * torch.rand(5, 3, 4, 4, generator=draws, dtype=torch.float64)
    found = climb(
        lambda images: (images * weights).sum((1, 2, 3)), centres, centres, ball(norm, 0.1), step=0.04, steps=4
    )
    best = 0.1 * (weights.abs().sum() if norm == "linf" else weights.norm())
    torch.testing.assert_close(((found - centres) * weights).sum((1, 2, 3)), best.expand(5))


@pytest.mark.parametrize("norm", NORMS)
def test_ascent_on_a_net_is_that_of_torchattacks(norm: Norm) -> None:
    """From the image itself; torchattacks' own starts are drawn otherwise."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)).eval()
        images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % 3
    if norm == "linf":
        rival = torchattacks.PGD(net, eps=8 / 255, alpha=2 / 255, steps=7, random_start=False)
    else:
        rival = torchattacks.PGDL2(net, eps=0.5, alpha=0.125, steps=7, random_start=False)
    rival.set_device(torch.device("cpu"))
    threat, step = (ball("linf", 8 / 255), 2 / 255) if norm == "linf" else (ball("l2", 0.5), 0.125)
    found = climb(
        lambda x: nn.functional.cross_entropy(net(x), labels, reduction="none"),
        images,
        images,
        threat,
        step=step,
        steps=7,
    )
    torch.testing.assert_close(found, rival(images, labels), rtol=0, atol=2e-6)


def test_no_gradient_is_left_and_none_is_needed_around() -> None:
    net = nn.Linear(12, 2)
    images = torch.rand(2, 3, 2, 2)
    with torch.no_grad():
        found = climb(lambda x: net(x.flatten(1))[:, 0], images, images, ball("linf", 0.1), step=0.1, steps=2)
    assert not found.requires_grad and all(parameter.grad is None for parameter in net.parameters())


def test_no_image_is_attacked_to_none() -> None:
    none = torch.zeros(0, 3, 2, 2)
    for norm in NORMS:
        start = uniform_start(ball(norm, 0.1), start_draws(0, "x", 0, np.zeros(0, np.int64), none), none)
        assert climb(lambda x: x.sum((1, 2, 3)), none, start, ball(norm, 0.1), step=0.1, steps=2).shape == none.shape


def test_starts_are_uniform_in_the_ball() -> None:
    centres = torch.full((2000, 3, 2, 1), 0.5)
    draws = start_draws(7, "start", 3, np.arange(2000), centres)
    flat = (uniform_start(ball("linf", 0.2), draws, centres) - centres).flatten()
    assert stats.kstest((flat / 0.2).numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
    round_ = (uniform_start(ball("l2", 0.2), draws, centres) - centres).flatten(1)
    radii = round_.norm(dim=1) / 0.2
    assert stats.kstest(radii.pow(6).numpy(), "uniform").pvalue > 1e-3, "the share of the volume within a radius"
    directions = round_ / round_.norm(dim=1, keepdim=True)
    assert directions.mean(dim=0).abs().max() < 0.05
    assert stats.kstest(normal_of(draws[:, :-1]).flatten().numpy(), "norm").pvalue > 1e-3


def test_a_samples_draws_depend_on_it_alone() -> None:
    images = torch.zeros(3, 3, 3, 3)
    some = start_draws(5, "attack", 2, np.array([9, 0, 4]), images)
    alone = start_draws(5, "attack", 2, np.array([4]), images[:1])
    assert torch.equal(some[2:], alone)
    for other in (
        start_draws(6, "attack", 2, np.array([4]), images[:1]),
        start_draws(5, "attack", 3, np.array([4]), images[:1]),
    ):
        assert not torch.equal(other, alone)
