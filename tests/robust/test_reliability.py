"""The verdict: models that hide their gradients are caught, each for its own reason; one that does not is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.attacked import ConvNet, subjects
from torch import Tensor, nn

from coretune.robust.attack import Subjects, attackable
from coretune.robust.reliability import Probes, are_probabilities, is_drawn, probe, reasons
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import PgdParameters

EPS = "12/255"


class Masked(nn.Module):
    """A net behind something that masks its gradients."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = ConvNet(seed=1)
        self.kind = kind

    def forward(self, images: Tensor) -> Tensor:
        if self.kind == "quantised":
            return self.net((images * 24).round() / 24)
        if self.kind == "detached":
            return self.net(images.detach())
        if self.kind == "resized":
            side = int(torch.randint(6, 9, ()))
            small = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
            return self.net(F.interpolate(small, size=(8, 8), mode="bilinear", align_corners=False))
        logits = self.net(images)
        if self.kind == "saturated":
            return 1e5 * logits
        return logits.softmax(dim=1) if self.kind == "softmax" else logits


class Ripple(nn.Module):
    """Two classes by the mean grey level, with a trap for short steps: the margin rises, falls, and rises beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        moved = 255 * (images.flatten(1).mean(dim=1) - 0.5)
        trap = -1 + 0.1 * moved - 0.9 * torch.exp(-((moved - 6) ** 2) / 8)
        margin = torch.where(moved > 11, moved - 11, trap)
        return self.scale * torch.stack([-margin, margin], dim=1) / 2


def probed(model: nn.Module, aim: Subjects, **pgd: Any) -> Probes:
    with attackable(model, torch.device("cpu")):
        return probe(model, aim, ThreatModel.parse("linf", EPS), PgdParameters.model_validate(pgd))


def verdict(kind: str, **pgd: Any) -> list[str]:
    model = Masked(kind)
    torch.manual_seed(0)
    return reasons(probed(model, subjects(model, 24, seed=1), **pgd), scale_free=False)


def test_a_plain_net_is_reliable() -> None:
    assert verdict("plain", steps=40) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("quantised", ["zero gradients", "black box beats white box", "a ball without bounds is not enough"]),
        ("detached", ["zero gradients", "black box beats white box", "a ball without bounds is not enough"]),
        ("saturated", ["zero gradients", "flat logits"]),
        ("resized", ["random output"]),
        ("softmax", ["softmax instead of logits"]),
    ],
)
def test_each_mask_is_caught(kind: str, expected: list[str]) -> None:
    found = verdict(kind, steps=40)
    for reason in expected:
        assert any(said.startswith(reason) for said in found), (reason, found)


def test_one_step_that_beats_many_is_caught() -> None:
    images = torch.full((8, 3, 8, 8), 0.5) + 1e-3 * torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    aim = Subjects(images, torch.zeros(8, dtype=torch.int64), 2, np.arange(8), 0)
    found = reasons(probed(Ripple(), aim), scale_free=True)
    assert any(said.startswith("one step beats many: one of ε fools 8, 20 fool 0") for said in found), found


def test_a_loss_that_still_rises_is_caught() -> None:
    found = verdict("plain", steps=3, step_size="eps/20", start="none")
    assert any(said.startswith("the loss has not converged") for said in found), found


def test_a_scale_free_attack_of_the_evaluation_answers_flat_logits() -> None:
    found = Probes(images=20, many_steps=2, scale_free=15, unbounded=20)
    assert any("flat logits" in said for said in reasons(found, scale_free=False))
    assert reasons(found, scale_free=True) == []


def test_a_single_image_is_no_sign_and_none_is_one() -> None:
    assert reasons(Probes(images=8, zero_gradient=1, unbounded=7), scale_free=True) == []
    assert reasons(Probes(), scale_free=True) == ["no image is classified correctly: there was nothing to probe"]
    assert reasons(Probes(images=7, unbounded=7), scale_free=True)[0].startswith("too few images: 7 of those")
    assert probed(Masked("plain"), subjects(ConvNet(), 0)) == Probes()


def test_probes_of_workers_add_up() -> None:
    one, other = Probes(images=3, loss_end=1.5), Probes(images=4, loss_end=2.0)
    cpu = torch.device("cpu")
    total = Probes.from_tensor(one.tensor(cpu) + other.tensor(cpu))
    assert total == Probes(images=7, loss_end=3.5)
    assert total.numbers()["images"] == 7 and total.numbers()["loss_end"] == 3.5
    assert Probes(loss_end=float("inf")).numbers()["loss_end"] is None


def test_probabilities_are_told_from_logits() -> None:
    logits = torch.randn(5, 4)
    assert are_probabilities(logits.softmax(dim=1)).all()
    assert are_probabilities(logits.log_softmax(dim=1)).all()
    assert not are_probabilities(logits).any()


def test_drawn_output_is_told() -> None:
    images = torch.rand(2, 3, 8, 8)
    with attackable(model := Masked("resized"), torch.device("cpu")):
        assert any(is_drawn(model, images) for _ in range(5))
    with attackable(model := Masked("plain"), torch.device("cpu")):
        assert not is_drawn(model, images) and not is_drawn(model, images[:0])
