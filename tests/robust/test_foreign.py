"""Attacks by torchattacks are theirs, draw for draw, where theirs are sound."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
import torchattacks
from support.attacked import ConvNet, subjects
from torch import Tensor, nn

from coretune.robust.attack import attackable, predictions
from coretune.robust.cw import cw
from coretune.robust.draws import SampleDraws
from coretune.robust.foreign import fab_targeted, square
from coretune.robust.threat import ThreatModel, distance
from coretune.spec.catalog.attacks import CwParameters, FabParameters, SquareParameters

CPU = torch.device("cpu")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_no_farther_images_than_theirs(norm: Any) -> None:
    model = ConvNet(seed=6).eval()
    aim = subjects(model, 6, seed=6)
    theirs = torchattacks.FAB(
        model, norm="Linf" if norm == "linf" else "L2", eps=10.0, steps=10, multi_targeted=True, n_classes=4
    )
    images = theirs(aim.images, aim.labels)
    with attackable(model, CPU):
        found = fab_targeted(model, aim, ThreatModel(norm, Fraction(0)), FabParameters(steps=10))
    assert bool(found.fooled.all())
    assert bool((predictions(model, found.images) != aim.labels).all())
    assert bool((distance(found.images, aim.images, norm) <= distance(images, aim.images, norm) + 1e-9).all())


def test_square_is_theirs_with_the_same_draws() -> None:
    model = ConvNet(seed=7).eval()
    aim = subjects(model, 5, seed=7)
    threat = ThreatModel("linf", Fraction(6, 255))
    theirs = torchattacks.Square(model, eps=threat.radius, n_queries=30)
    with attackable(model, CPU):
        theirs.init_hyperparam(aim.images)
        with SampleDraws(aim.seed, "square 0", aim.index), torch.no_grad():
            _, images = theirs.attack_single_run(aim.images, aim.labels)
        found = square(model, aim, threat, SquareParameters(queries=30))
    assert torch.equal(found.images, images)
    assert torch.equal(found.fooled, predictions(model, images) != aim.labels)


class Lifted(nn.Module):
    """A net with logits above 0: their CW takes 0 for the label's own where it looks for the largest other."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ConvNet(seed=8)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images) + 100
        return logits


def test_cw_is_theirs_for_a_single_image() -> None:
    model = Lifted().eval()
    aim = subjects(model, 3, seed=8)
    for row in range(3):
        one = aim.pick(torch.tensor([row]))
        theirs = torchattacks.CW(model, c=5, steps=30, lr=0.02)(one.images, one.labels)
        with attackable(model, CPU):
            ours = cw(model, one, ThreatModel("l2", Fraction(1)), CwParameters(c=5, steps=30, lr=0.02))
        assert torch.allclose(ours.images, theirs, atol=1e-3)
        assert bool(ours.fooled[0]) == bool(predictions(model, theirs)[0] != one.labels[0])
