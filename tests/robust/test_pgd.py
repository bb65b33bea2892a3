"""PGD is torchattacks' own where that is deterministic; its active set changes nothing; more never helps the model."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacked import ConvNet, subjects

from coretune.robust.attack import Attempt, Subjects, attackable, predictions
from coretune.robust.losses import cross_entropy
from coretune.robust.pgd import Ascent, climb, fgsm, pgd, start_of
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import FgsmParameters, PgdParameters
from coretune.spec.epsilon import Norm

CPU = torch.device("cpu")
SIZES: dict[Norm, Fraction] = {"linf": Fraction(6, 255), "l2": Fraction(1, 3)}


def attack(model: ConvNet, aim: Subjects, norm: Norm = "linf", eps: Fraction | None = None, **said: object) -> Attempt:
    threat = ThreatModel(norm, SIZES[norm] if eps is None else eps)
    with attackable(model, CPU):
        return pgd(model, aim, threat, PgdParameters.model_validate(said))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**20), st.integers(1, 5), st.integers(1, 6))
def test_it_is_torchattacks_pgd_to_the_last_bit(seed: int, n: int, steps: int) -> None:
    model = ConvNet(seed=seed).eval()
    aim = subjects(model, n, seed=seed)
    eps = float(SIZES["linf"])
    theirs = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=steps, random_start=False)(aim.images, aim.labels)
    ours = attack(model, aim, steps=steps, start="none", success="last")
    assert torch.equal(ours.images, theirs)
    assert torch.equal(ours.fooled, predictions(model, theirs) != aim.labels)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**20))
def test_in_l2_it_is_theirs_but_for_rounding(seed: int) -> None:
    model = ConvNet(seed=seed).eval()
    aim = subjects(model, 4, seed=seed)
    eps = float(SIZES["l2"])
    theirs = torchattacks.PGDL2(model, eps=eps, alpha=eps / 4, steps=5, random_start=False)(aim.images, aim.labels)
    ours = attack(model, aim, "l2", steps=5, start="none", success="last")
    assert torch.allclose(ours.images, theirs, atol=1e-5)


def test_fgsm_is_torchattacks_fgsm() -> None:
    model = ConvNet().eval()
    aim = subjects(model, 4)
    theirs = torchattacks.FGSM(model, eps=6 / 255)(aim.images, aim.labels)
    with attackable(model, CPU):
        ours = fgsm(model, aim, ThreatModel.parse("linf", "6/255"), FgsmParameters())
    assert torch.allclose(ours.images, theirs, atol=1e-7)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_any_iterate_fools_whom_the_last_fools_and_each_is_an_iterate(norm: Norm) -> None:
    model = ConvNet(seed=5).eval()
    aim = subjects(model, 24, seed=5)
    last = attack(model, aim, norm, steps=8, success="last")
    any_ = attack(model, aim, norm, steps=8, success="any")
    assert bool((any_.fooled | ~last.fooled).all()) and bool(any_.fooled.any()) and not bool(any_.fooled.all())
    assert bool((predictions(model, any_.images) != aim.labels)[any_.fooled].all())
    assert torch.allclose(any_.images[~any_.fooled], last.images[~any_.fooled], atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**20), st.sampled_from(["linf", "l2"]))
def test_more_steps_and_more_restarts_leave_no_more(seed: int, norm: Norm) -> None:
    model = ConvNet(seed=seed).eval()
    aim = subjects(model, 12, seed=seed)
    step = float(SIZES[norm] / 4)
    fewer = attack(model, aim, norm, steps=3, step_size=step)
    assert bool((attack(model, aim, norm, steps=7, step_size=step).fooled | ~fewer.fooled).all())
    assert bool((attack(model, aim, norm, steps=3, step_size=step, restarts=3).fooled | ~fewer.fooled).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_are_drawn_by_image_seed_and_restart(norm: Norm) -> None:
    model = ConvNet().eval()
    aim = subjects(model, 5)
    threat = ThreatModel(norm, SIZES[norm])
    start = start_of(aim, threat, 0)
    assert bool(threat.inside(start, aim.images).all())
    some = torch.tensor([3, 1])
    assert torch.equal(start_of(aim.pick(some), threat, 0), start[some])
    assert not torch.allclose(start_of(aim, threat, 1), start)
    assert not torch.allclose(start_of(replace(aim, seed=9), threat, 0), start)
    assert torch.equal(start_of(aim, threat, 0, "none"), aim.images)
    warm = replace(aim, warm=aim.images + 2 * threat.radius)
    assert bool(threat.inside(start_of(warm, threat, 0), aim.images).all())
    assert torch.equal(start_of(warm, threat, 1), start_of(aim, threat, 1))


def test_losses_are_told_at_each_iterate() -> None:
    model = ConvNet().eval()
    aim = subjects(model, 3)
    told: list[torch.Tensor] = []
    with attackable(model, CPU):
        ascent = Ascent(ThreatModel.parse("linf", "2/255"), 4, 1 / 255, cross_entropy, "last", told)
        climb(model, aim, aim.images, ascent)
        assert torch.allclose(told[0], cross_entropy(model(aim.images), aim.labels))
    assert len(told) == 4 and float(told[-1].sum()) > float(told[0].sum())


def test_a_model_without_gradients_is_no_error() -> None:
    class Cut(ConvNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images).detach()

    model = Cut().eval()
    aim = subjects(model, 2)
    found = attack(model, aim, start="none", steps=3)
    assert torch.equal(found.images, aim.images) and not found.fooled.any()
