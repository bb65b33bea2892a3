"""Auto-PGD by torchattacks is theirs, draw for draw, and passes no image that is fooled."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
import torchattacks
from support.attacked import ConvNet, subjects

from coretune.robust.apgd import apgd_ce, apgd_dlr, apgd_targeted, likeliest_wrong
from coretune.robust.attack import attackable, predictions
from coretune.robust.draws import SampleDraws
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import ApgdParameters, TargetedParameters

CPU = torch.device("cpu")
SMALL = Fraction(2, 255)


@pytest.mark.parametrize(("loss", "ours"), [("ce", apgd_ce), ("dlr", apgd_dlr)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_apgd_is_theirs(loss: str, ours: Any, norm: Any) -> None:
    model = ConvNet(seed=2).eval()
    aim = subjects(model, 16, seed=2)
    threat = ThreatModel(norm, SMALL if norm == "linf" else Fraction(1, 4))
    theirs = torchattacks.APGD(model, norm="Linf" if norm == "linf" else "L2", eps=threat.radius, steps=12, loss=loss)
    with attackable(model, CPU):
        with SampleDraws(aim.seed, f"apgd-{loss} 0", aim.index):
            _, robust, _, images = theirs.attack_single_run(aim.images, aim.labels)
        found = ours(model, aim, threat, ApgdParameters(steps=12))
    assert torch.equal(found.fooled, ~robust)
    assert 0 < int(found.fooled.sum()) < 16
    assert torch.equal(predictions(model, images) != aim.labels, predictions(model, found.images) != aim.labels)


def test_the_targeted_loss_in_apgd_is_their_targeted_attack_in_linf() -> None:
    model = ConvNet(classes=6, seed=4).eval()
    aim = subjects(model, 16, classes=6, seed=4)
    threat = ThreatModel("linf", SMALL)
    theirs = torchattacks.APGDT(model, eps=threat.radius, steps=12, n_classes=6)
    theirs.target_class = 2  # the likeliest wrong class, as they count
    with attackable(model, CPU):
        with SampleDraws(aim.seed, "apgd-t 0 0", aim.index):
            _, robust, _, images = theirs.attack_single_run(aim.images, aim.labels)
        found = apgd_targeted(model, aim, threat, TargetedParameters(steps=12, targets=1))
    assert torch.equal(found.fooled, ~robust)
    assert 0 < int(found.fooled.sum()) < 16
    assert torch.equal(predictions(model, images) != aim.labels, predictions(model, found.images) != aim.labels)


def test_who_is_fooled_by_apgd_is_passed_no_more() -> None:
    model = ConvNet(seed=2).eval()
    aim = subjects(model, 16, seed=2)
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    with attackable(model, CPU):
        few = apgd_ce(model, aim, ThreatModel("linf", SMALL), ApgdParameters(steps=12))
        assert len(sizes) == 13 and sizes[0] == 16 and sizes[-1] >= int((~few.fooled).sum())
        assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 16
        sizes.clear()
        everyone = apgd_ce(model, aim, ThreatModel("linf", Fraction(1, 4)), ApgdParameters(steps=12))
    assert bool(everyone.fooled.all()) and len(sizes) < 13


def test_averaged_gradients_pass_every_image_every_time() -> None:
    model = ConvNet(seed=2).eval()
    aim = subjects(model, 6, seed=2)
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    with attackable(model, CPU):
        found = apgd_ce(model, aim, ThreatModel("linf", SMALL), ApgdParameters(steps=5, eot=2))
    assert sizes == [6] * 12
    assert bool((predictions(model, found.images) != aim.labels)[found.fooled].all())


def test_wrong_classes_are_ordered_by_their_logits() -> None:
    model = ConvNet(classes=5).eval()
    aim = subjects(model, 8, classes=5)
    ranked = likeliest_wrong(model, aim)
    logits = model(aim.images).detach()
    assert ranked.shape == (8, 4)
    for row in range(8):
        wrong = [c for c in range(5) if c != int(aim.labels[row])]
        assert ranked[row].tolist() == sorted(wrong, key=lambda c, row=row: -float(logits[row, c]))
