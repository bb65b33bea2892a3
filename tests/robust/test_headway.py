"""How far an evaluation is: every unit is told once, whatever leaves early, and every pass through the model counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacked import ConvNet, subjects

from coretune.robust.attack import attackable
from coretune.robust.headway import EVERY_S, Headway, Teller
from coretune.robust.worst_case import Plan, worst_case
from coretune.spec.catalog.attack_choice import AttackParameters


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**20), st.integers(1, 7))
def test_all_tries_are_done_in_the_end(seed: int, chunk: int) -> None:
    model = ConvNet(seed=seed)
    aim = subjects(model, 9, seed=seed)
    attacks = ["fgsm", {"name": "pgd", "steps": 2}]
    plan = Plan.of(AttackParameters.model_validate({"eps": ["1/255", "8/255"], "attacks": attacks}))
    told: list[Headway] = []
    teller = Teller(told.append)
    teller.begin("attack", 9 * 4)
    correct = torch.from_numpy(np.arange(9) % 3 > 0)
    with attackable(model, torch.device("cpu")):
        worst_case(model, aim, correct, plan, chunk, teller)
    assert (told[-1].done, told[-1].total) == (36, 36)
    assert [each.done for each in told] == sorted(each.done for each in told)
    details = [each.detail for each in told if each.detail]
    assert details[0] == "fgsm at ε = 1/255" and set(details) <= {
        f"{name} at ε = {eps}" for name in ("fgsm", "pgd") for eps in ("1/255", "8/255")
    }


def test_passes_are_a_sign_of_life_now_and_then() -> None:
    now, told, model = [0.0], list[Headway](), ConvNet().eval()
    teller = Teller(told.append, clock=lambda: now[0])
    teller.begin("median", 3)
    with teller.watching(model):
        model(torch.rand(2, 3, 8, 8))
        assert len(told) == 1
        now[0] = EVERY_S
        model(torch.rand(3, 3, 8, 8))
    model(torch.rand(4, 3, 8, 8))
    assert told[-1] == Headway("median", "", 0, 3, passes=5) and len(told) == 2


def test_a_stage_begins_anew_and_passes_go_on() -> None:
    told: list[Headway] = []
    teller = Teller(told.append)
    teller.begin("attack", 2)
    teller.at("pgd")
    teller.at("pgd")
    teller.advance(2)
    teller.begin("probes", 5)
    assert told == [
        Headway("attack", "", 0, 2),
        Headway("attack", "pgd", 0, 2),
        Headway("attack", "pgd", 2, 2),
        Headway("probes", "", 0, 5),
    ]


def test_nobody_is_told_and_nothing_is_hooked() -> None:
    model = ConvNet()
    teller = Teller()
    with teller.watching(model):
        assert not model._forward_pre_hooks
    teller.begin("attack", 1)
    teller.advance(1)


def test_the_hook_is_gone_whatever_happens() -> None:
    model = ConvNet()

    def watched(error: Any) -> None:
        with Teller(lambda now: None).watching(model):
            raise error

    with pytest.raises(ValueError, match="broken"):
        watched(ValueError("broken"))
    assert not model._forward_pre_hooks
