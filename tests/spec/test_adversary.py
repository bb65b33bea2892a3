from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.training import toy_spec

from coretune.spec.adversary import AdversarySpec
from coretune.spec.run import RunSpec


def adversary(**keys: Any) -> AdversarySpec:
    return AdversarySpec.model_validate({"attack": "pgd", **keys})


@pytest.mark.parametrize(
    "keys, steps, step, seen",
    [
        ({}, 7, 2 / 255, "adversarial"),
        ({"attack": "trades"}, 10, 2 / 255, "clean"),
        ({"attack": "fgsm_rs"}, 1, 10 / 255, "adversarial"),
        ({"eps": "4/255", "steps": 5, "step_size": "2.5*eps/steps"}, 5, 2 / 255, "adversarial"),
        ({"eps": 0.03, "step_size": "1/255", "features": "both"}, 7, 1 / 255, "both"),
        ({"norm": "l2", "eps": 1.5}, 7, 0.375, "adversarial"),
    ],
)
def test_what_is_not_said_is_that_of_the_paper(keys: dict[str, Any], steps: int, step: float, seen: str) -> None:
    made = adversary(**keys)
    assert (made.number_of_steps, float(made.step), made.seen) == (steps, pytest.approx(step), seen)


def test_one_size_has_one_text_so_that_it_is_one_run() -> None:
    sizes = [adversary(eps=eps) for eps in ("8/255", " 8 / 255", "16/510")]
    assert {made.eps for made in sizes} == {"8/255"}
    assert adversary(eps="0.50", norm="l2") == adversary(eps=0.5, norm="l2")


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"eps": "8"}, '8 grey levels are "8/255"'),
        ({"eps": 0}, "an adversary with eps 0 does nothing"),
        ({"eps": "much"}, "is no size of a perturbation"),
        ({"step_size": "eps*2"}, "is no step size"),
        ({"attack": "trades", "features": "both"}, "got both, need clean"),
        ({"attack": "fgsm_rs", "steps": 3}, "fgsm_rs has one step, got 3"),
        ({"attack": "none"}, "'pgd', 'trades' or 'fgsm_rs'"),
        ({"beta": 0}, "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        adversary(**keys)


def test_a_run_with_an_adversary_is_another_run_and_one_without_is_as_ever() -> None:
    plain, attacked = toy_spec(), toy_spec(adversary={"attack": "pgd"})
    assert "adversary" not in plain.canonical()
    assert attacked.canonical()["adversary"] == {"attack": "pgd"}
    assert RunSpec.model_validate(attacked.canonical()) == attacked
    assert len({plain.run_id, attacked.run_id, toy_spec(adversary={"attack": "pgd", "eps": "4/255"}).run_id}) == 3


def test_what_an_adversary_has_no_part_in_is_refused() -> None:
    with pytest.raises(ValidationError, match="no adversarial training for pretraining"):
        toy_spec("moco_v2", adversary={"attack": "pgd"})
    with pytest.raises(ValidationError, match="robust_top1 is measured where there is an adversary"):
        toy_spec().replace(best_by="robust_top1")


def test_an_adversary_in_one_line() -> None:
    assert adversary(norm="l2", eps=0.5).summary() == "pgd L2 0.5, 7 × 0.125, features adversarial"
