"""What every attack has to keep to, whatever the images: ball, box, dtype, draws, and the model as it was."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacked import ALL, CHEAP, ConvNet, TwoClasses, chosen, subjects

from coretune.errors import RequestError
from coretune.robust.attack import Attempt, Subjects, attackable, predictions
from coretune.robust.threat import ThreatModel
from coretune.robust.worst_case import Plan, worst_case
from coretune.spec.catalog.attack_choice import AttackChoice
from coretune.spec.catalog.attacks import ATTACKS
from coretune.spec.epsilon import Norm

CPU = torch.device("cpu")
SIZES: dict[Norm, list[Fraction]] = {"linf": [Fraction(2, 255), Fraction(1, 10)], "l2": [Fraction(1, 10), Fraction(2)]}


def attempt(model: torch.nn.Module, aim: Subjects, choice: AttackChoice, threat: ThreatModel) -> Attempt:
    with attackable(model, CPU):
        found: Attempt = choice.component.load()(model, aim, threat, choice.parameters)
    return found


def test_every_attack_is_tried() -> None:
    assert set(CHEAP) == {name for name, component in ATTACKS.items() if not component.members}


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_ball_box_dtype_and_claims_hold(name: str, norm: Norm) -> None:
    @settings(deadline=None, max_examples=6)
    @given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 2**20), st.sampled_from(SIZES[norm]))
    def check(n: int, classes: int, seed: int, eps: Fraction) -> None:
        model = ConvNet(classes, seed)
        aim = subjects(model, n, classes=classes, seed=seed)
        aim.images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
        aim = subjects_of(model, aim)
        threat = ThreatModel(norm, eps)
        found = attempt(model, aim, chosen(name), threat)
        assert found.images.shape == aim.images.shape and found.images.dtype == torch.float32
        assert found.fooled.shape == (n,) and found.fooled.dtype == torch.bool
        assert not found.images.requires_grad
        assert bool(((found.images >= 0) & (found.images <= 1)).all())
        if not ATTACKS[name].minimal:
            assert bool(threat.inside(found.images, aim.images).all())
        fooled = found.images[found.fooled]
        assert bool((predictions(model, fooled) != aim.labels[found.fooled]).all()) or not len(fooled)

    check()


def subjects_of(model: torch.nn.Module, aim: Subjects) -> Subjects:
    return Subjects(aim.images, predictions(model, aim.images), aim.classes, aim.index, aim.seed)


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_the_model_is_left_as_it_was(name: str, norm: Norm) -> None:
    model = ConvNet()
    aim = subjects(model, 3)
    model.train()
    model.norm.eval()
    model.conv.bias.requires_grad_(False)  # type: ignore[union-attr]
    model.linear.weight.grad = torch.ones_like(model.linear.weight)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    attempt(model, aim, chosen(name), ThreatModel(norm, Fraction(1, 10)))
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model.linear.weight.grad, torch.ones_like(model.linear.weight))
    assert model.linear.bias.grad is None


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_an_image_meets_the_same_attack_wherever_it_stands(name: str, norm: Norm) -> None:
    model = ConvNet(seed=3)
    aim = subjects(model, 5, seed=3)
    threat = ThreatModel(norm, SIZES[norm][0])
    together = attempt(model, aim, chosen(name), threat)
    for row in (0, 3):
        alone = attempt(model, aim.pick(torch.tensor([row])), chosen(name), threat)
        assert torch.allclose(alone.images[0], together.images[row], atol=2e-4)
        assert bool(alone.fooled[0]) == bool(together.fooled[row])
    again = attempt(model, aim, chosen(name), threat)
    assert torch.equal(again.images, together.images)


@pytest.mark.parametrize(("name", "norm"), [pair for pair in ALL if ATTACKS[pair[0]].sees == "gradients"])
def test_other_memory_formats_change_nothing(name: str, norm: Norm) -> None:
    model = ConvNet(seed=1)
    aim = subjects(model, 3, seed=1)
    laid = Subjects(aim.images.contiguous(memory_format=torch.channels_last), aim.labels, 4, aim.index, aim.seed)
    threat = ThreatModel(norm, SIZES[norm][0])
    one, other = (attempt(model, each, chosen(name), threat) for each in (aim, laid))
    assert torch.allclose(one.images, other.images, atol=2e-4)
    assert torch.equal(one.fooled, other.fooled)


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_nobody_all_wrong_one_class_wrong_and_one_image(name: str, norm: Norm) -> None:
    model = ConvNet()
    plan = Plan(norm, (SIZES[norm][1],), (chosen(name),))
    for n in (0, 1, 4):
        aim = subjects(model, n)
        for wrong in ("nobody", "all", "one class"):
            correct = torch.ones(n, dtype=torch.bool)
            if n and wrong != "nobody":
                correct = torch.zeros_like(correct) if wrong == "all" else aim.labels != aim.labels[0]
            with attackable(model, CPU):
                found = worst_case(model, aim, correct, plan, 3)
            assert not found.faults
            assert torch.equal(found.level == 0, ~correct)
            assert torch.equal(found.images[~correct], aim.images[~correct])
            assert torch.equal(found.by >= 0, found.level == 1)


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_constant_logits_leave_an_image_alone(name: str, norm: Norm) -> None:
    model = TwoClasses(torch.zeros(3, 8, 8), 1.0)
    aim = Subjects(torch.rand(2, 3, 8, 8), torch.ones(2, dtype=torch.int64), 2, np.arange(2), 0)
    found = attempt(model, aim, chosen(name), ThreatModel(norm, Fraction(1, 10)))
    assert not found.fooled.any()
    assert bool(found.images.isfinite().all())


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_gradients_that_are_cut_off_fool_nobody_and_are_no_error(name: str, norm: Norm) -> None:
    class Cut(ConvNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images.detach())

    model = Cut()
    aim = subjects(model, 3)
    plan = Plan(norm, (Fraction(1, 10**6),), (chosen(name),))
    with attackable(model, CPU):
        found = worst_case(model, aim, torch.ones(3, dtype=torch.bool), plan, 3)
    assert found.level.tolist() == [plan.never] * 3 and not found.faults


@pytest.mark.parametrize("change", [{"side": 4}, {"p_init": 1.0}])
def test_square_says_which_images_it_takes_in_l2(change: dict[str, Any]) -> None:
    model = ConvNet()
    aim = subjects(model, 1, side=change.get("side", 8))
    params = {"queries": 2, **({"p_init": 1.0} if "p_init" in change else {})}
    choice = AttackChoice.model_validate({"name": "square", "params": params})
    with pytest.raises(RequestError, match=r"at least 5 pixels and p_init of at most 0\.8"):
        attempt(model, aim, choice, ThreatModel("l2", Fraction(1)))
