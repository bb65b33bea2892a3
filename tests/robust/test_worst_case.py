"""The worst case over attacks and ε: who is fooled leaves, nobody comes back, and the checks see what is wrong."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacked import ConvNet, subjects
from torch import Tensor

from coretune.robust import pgd as pgd_module
from coretune.robust.attack import Attempt, Subjects, attackable, predictions
from coretune.robust.checks import check_again, check_distances, check_monotone
from coretune.robust.threat import distance
from coretune.robust.worst_case import Outcome, Plan, worst_case
from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.spec.epsilon import Norm

CPU = torch.device("cpu")
LINF = ["1/255", "4/255", "12/255"]


def outcome(model: ConvNet, aim: Subjects, chunk: int = 5, **said: Any) -> tuple[Outcome, Plan]:
    params = AttackParameters.model_validate({"eps": LINF, **said})
    plan = Plan.of(params)
    correct = torch.ones(len(aim), dtype=torch.bool)
    with attackable(model, CPU):
        return worst_case(model, aim, correct, plan, chunk), plan


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_lie_in_the_ball_of_their_level_and_fool(norm: Norm) -> None:
    model = ConvNet(seed=1)
    aim = subjects(model, 20, seed=1)
    eps = LINF if norm == "linf" else ["0.05", "0.3", "1.0"]
    attacks = ["fgsm", {"name": "pgd", "steps": 4}, {"name": "fab-t", "steps": 3}, {"name": "square", "queries": 5}]
    found, plan = outcome(model, aim, norm=norm, eps=eps, attacks=attacks)
    assert not found.faults and not check_distances(found, aim.images, plan)
    assert len(found.level.unique()) > 2
    fooled = found.level < plan.never
    assert torch.equal(predictions(model, found.images) != aim.labels, fooled)
    again = check_again(model, found, aim.labels, plan, 5)
    assert again.faults == [] and not again.tied.any()
    for number, size in enumerate(plan.grid, 1):
        lengths = distance(found.images, aim.images, norm)[found.level == number]
        assert bool((lengths <= float(size) + 1e-6).all())


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**20))
def test_more_attacks_leave_no_more_and_chunks_do_not_matter(seed: int) -> None:
    model = ConvNet(seed=seed)
    aim = subjects(model, 10, seed=seed)
    few = [{"name": "square", "queries": 4}]
    many = [{"name": "pgd", "steps": 3}, *few]
    one, _ = outcome(model, aim, attacks=few)
    other, _ = outcome(model, aim, attacks=many)
    assert bool((other.level <= one.level).all())
    chunked, _ = outcome(model, aim, attacks=many, chunk=3)
    assert torch.equal(chunked.level, other.level) and torch.equal(chunked.by, other.by)


def test_a_set_that_contains_autoattack_leaves_at_most_what_it_leaves() -> None:
    model = ConvNet(seed=2)
    aim = subjects(model, 16, seed=2)
    auto = {"name": "autoattack", "steps": 5, "queries": 10}
    alone, plan = outcome(model, aim, eps=["4/255"], attacks=[auto])
    more, _ = outcome(model, aim, eps=["4/255"], attacks=["fgsm", auto])
    assert bool((more.level <= alone.level).all())
    assert 0 < int((alone.level == plan.never).sum()) < 16


def test_a_single_eps_is_that_attack_and_a_smaller_one_before_warms_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ConvNet(seed=3)
    aim = subjects(model, 8, seed=3)
    starts: list[Tensor | None] = []
    real = pgd_module.pgd

    def spy(model: Any, subjects: Subjects, threat: Any, params: Any) -> Attempt:
        starts.append(subjects.warm)
        return real(model, subjects, threat, params)

    monkeypatch.setattr(pgd_module, "pgd", spy)
    outcome(model, aim, eps=["1/2550", "2/2550"], attacks=[{"name": "pgd", "steps": 2}], chunk=8)
    assert starts[0] is None and starts[1] is not None
    assert not torch.equal(starts[1], aim.images)
    assert bool(((starts[1] - aim.images).abs() <= 1 / 2550 + 1e-6).all())


def test_nearest_images_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from coretune.robust import foreign

    asked: list[int] = []
    real = foreign.fab_targeted

    def spy(model: Any, subjects: Subjects, threat: Any, params: Any) -> Attempt:
        asked.extend(subjects.index.tolist())
        return real(model, subjects, threat, params)

    monkeypatch.setattr(foreign, "fab_targeted", spy)
    model = ConvNet(seed=4)
    aim = subjects(model, 6, seed=4)
    found, plan = outcome(model, aim, attacks=[{"name": "fab-t", "steps": 4}])
    assert sorted(asked) == sorted(aim.index.tolist())
    lengths = distance(found.images, aim.images, "linf")
    for row in range(6):
        level = int(found.level[row])
        if level <= len(plan.grid):
            assert level == 1 or float(lengths[row]) > float(plan.grid[level - 2])


def test_what_leaves_the_ball_is_a_fault_and_fools_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def cheat(model: Any, subjects: Subjects, threat: Any, params: Any) -> Attempt:
        return Attempt(1 - subjects.images, torch.ones_like(subjects.labels, dtype=torch.bool))

    monkeypatch.setattr(pgd_module, "fgsm", cheat)
    model = ConvNet()
    aim = subjects(model, 3)
    found, plan = outcome(model, aim, eps=["1/255"], attacks=["fgsm"])
    assert len(found.faults) == 1 and "fgsm left the threat model (L∞, ε = 1/255)" in found.faults[0]
    assert found.level.tolist() == [plan.never] * 3


def test_the_checks_see_what_is_wrong() -> None:
    model = ConvNet(seed=1).eval()
    aim = subjects(model, 6, seed=1)
    found, plan = outcome(model, aim, attacks=[{"name": "pgd", "steps": 4}])
    far = Outcome(found.level, found.by, (found.images + 0.2).clamp(0, 1))
    assert "longer than their ε" in check_distances(far, aim.images, plan)[0]
    out = Outcome(found.level, found.by, found.images - 2)
    assert "stored images leave [0, 1]" in check_distances(out, aim.images, plan)
    false = Outcome(torch.ones_like(found.level), found.by, aim.images)
    assert (
        "6 of 6 stored images are classified in another way" in check_again(model, false, aim.labels, plan, 4).faults[0]
    )


def test_ties_are_no_contradiction() -> None:
    class Tied(ConvNet):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[1.0, 1.0 - 1e-6, 0.0, 0.0]]).expand(len(images), 4)

    model = Tied().eval()
    aim = subjects(model, 2)
    plan = Plan("linf", (Fraction(1, 255),), ())
    said = Outcome(torch.tensor([1, 2]), torch.tensor([0, -1]), aim.images)
    faults, tied = check_again(model, said, aim.labels, plan, 8)
    assert faults == [] and tied.tolist() == [True, False]


def test_a_rise_is_told() -> None:
    assert check_monotone([5, 5, 3, 0]) == []
    assert check_monotone([5, 3, 4, 4]) == ["the worst case rises at step 2 of 3"]


def test_an_empty_set_of_images() -> None:
    model = ConvNet()
    found, plan = outcome(model, subjects(model, 0), attacks=["pgd", "fab-t", "square"])
    assert len(found.level) == 0 and not found.faults
    faults, tied = check_again(model, found, torch.zeros(0, dtype=torch.int64), plan, 4)
    assert faults == [] and tied.shape == (0,)
