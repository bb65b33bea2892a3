"""Losses of attacks, recomputed image by image from their equations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.robust.losses import cross_entropy, dlr, dlr_towards, margin, margin_towards, row_loss


@settings(deadline=None)
@given(st.integers(0, 2**20), st.integers(4, 7))
def test_each_is_its_equation(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (3,), generator=generator)
    targets = (labels + 1) % classes
    found = [
        loss(logits, labels) for loss in (cross_entropy, margin, dlr, dlr_towards(targets), margin_towards(targets))
    ]
    for row in range(3):
        z, y, t = logits[row].tolist(), int(labels[row]), int(targets[row])
        best = max(z[i] for i in range(classes) if i != y)
        down = sorted(z, reverse=True)
        expected = [
            math.log(sum(math.exp(value - z[y]) for value in z)),
            best - z[y],
            (best - z[y]) / (down[0] - down[2]),
            (z[t] - z[y]) / (down[0] - (down[2] + down[3]) / 2),
            z[t] - z[y],
        ]
        assert [float(values[row]) for values in found] == pytest.approx(expected, abs=1e-6)


def test_dlr_does_not_depend_on_scale_and_shift() -> None:
    logits = torch.randn(5, 6, dtype=torch.float64)
    labels = torch.arange(5)
    assert torch.allclose(dlr(1000 * logits + 3, labels), dlr(logits, labels), atol=1e-8)


@pytest.mark.parametrize(("classes", "loss"), [(2, margin), (3, margin), (4, dlr), (10, dlr)])
def test_below_four_classes_the_margin_stands_in(classes: int, loss: object) -> None:
    assert row_loss("dlr", classes) is loss
    assert row_loss("ce", classes) is cross_entropy and row_loss("margin", classes) is margin
