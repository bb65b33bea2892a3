"""A threat model: projection into ball and box, distances, and one line for people."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.robust.threat import TOLERANCE, ThreatModel, distance
from coretune.spec.epsilon import Norm

NORMS: list[Norm] = ["linf", "l2"]


def test_it_is_one_line() -> None:
    assert str(ThreatModel.parse("linf", "8/255")) == "L∞, ε = 8/255"
    assert str(ThreatModel.parse("l2", 0.5)) == "L2, ε = 0.5"


def test_grey_levels_are_refused() -> None:
    with pytest.raises(ValueError, match='grey levels are "8/255"'):
        ThreatModel.parse("linf", "8")


@settings(deadline=None)
@given(st.sampled_from(NORMS), st.integers(0, 2**31), st.sampled_from(["0", "1/255", "0.3", "1.0"]), st.integers(0, 4))
def test_what_is_projected_is_inside(norm: Norm, seed: int, eps: str, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, 4, 4, generator=generator)
    wild = images + 2 * torch.randn(images.shape, generator=generator)
    threat = ThreatModel.parse(norm, eps)
    projected = threat.project(wild, images)
    assert projected.dtype == images.dtype and projected.shape == images.shape
    assert threat.inside(projected, images).all()
    again = threat.project(projected, images)
    assert torch.allclose(again, projected, atol=1e-6)


def test_what_is_inside_stays() -> None:
    images = torch.full((1, 3, 2, 2), 0.5)
    for norm in NORMS:
        near = images + 0.01
        assert torch.allclose(ThreatModel(norm, Fraction(1, 10)).project(near, images), near)


@pytest.mark.parametrize("norm", NORMS)
def test_distances_are_the_norms_of_all_values(norm: Norm) -> None:
    images = torch.zeros(2, 3, 2, 2)
    moved = images.clone()
    moved[0, 0, 0, 0], moved[0, 2, 1, 1] = 0.3, 0.4
    expected = [0.4, 0.0] if norm == "linf" else [0.5, 0.0]
    assert distance(moved, images, norm).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("norm", NORMS)
def test_outside_of_ball_or_box_and_nan_are_not_inside(norm: Norm) -> None:
    threat = ThreatModel(norm, Fraction(1, 10))
    images = torch.zeros(4, 1, 1, 1)
    found = torch.tensor([0.1, 0.1 + 3 * TOLERANCE, -0.05, math.nan]).view(-1, 1, 1, 1)
    assert threat.inside(found, images).tolist() == [True, False, False, False]
