"""What a search optimises: metrics, and the attack of robust accuracy."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.driving import STUDY
from support.training import toy_spec

from coretune.errors import StudyError
from coretune.spec.adversary import AdversarySpec
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.objective import Objective
from coretune.spec.validation_attack import ValidationAttack
from coretune.spec.yamlfile import parse_yaml

ATTACK = "objective={metric: robust_top1, attack: {eps: 2/255, steps: 5, limit: 100}}"


def load(*sets: str) -> LoadedStudy:
    return resolve_study(parse_yaml(STUDY, "tiny.yaml"), sets)


def test_the_attack_is_the_objective_s_or_that_of_the_study_s_adversary() -> None:
    assert load(ATTACK).attack == ValidationAttack(eps="2/255", steps=5, limit=100)
    assert load("adversary={attack: trades, eps: 4/255, validation_steps: 3}").attack is None, "it is not the objective"
    found = load("adversary={attack: trades, eps: 4/255, validation_steps: 3}", "objective.metric=robust_top1")
    assert found.attack == ValidationAttack(eps="4/255", steps=3)
    assert load("adversary={attack: pgd, eps: 8/255}", ATTACK).attack == load(ATTACK).attack


@pytest.mark.parametrize(
    "sets, said",
    [
        (["objective.metric=robust_top1"], "objective.attack: robust_top1 is measured under one attack"),
        (["objective.attack={eps: 2/255}"], "objective: attack: it is made for metric: robust_top1; got top1"),
        (["objective={metric: robust_top1, attack: {steps: 3}}"], "objective.attack.eps: is required"),
        (["objective={metric: robust_top1, attack: {eps: 8}}"], '8 grey levels are "8/255"'),
        (["objective={metric: robust_top1, attack: {eps: 0}}"], "an attack with eps 0 is none"),
        (["objective={metric: robust_top1, attack: {eps: 1/255, stepz: 3}}"], "stepz: unknown key; did you mean"),
        (["objective.metric=robust_top1", "adversary={attack: pgd, eps: 8}"], 'adversary.eps: '),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_told_once_and_where(sets: list[str], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        load(*sets)
    (problem,) = caught.value.problems
    assert said in f"{problem.key}: {problem.message}"


def test_an_adversary_attacks_the_validation_part() -> None:
    adversary = AdversarySpec(attack="pgd", eps="0.5", norm="l2", validation_steps=4, validation_limit=9)
    assert adversary.validation_attack == ValidationAttack(norm="l2", eps="0.5", steps=4, limit=9)


@pytest.mark.parametrize("eps", ["8/255", " 8 / 255", "16/510"])
def test_a_size_is_written_in_one_way(eps: str) -> None:
    assert ValidationAttack(eps=eps) == ValidationAttack(eps="8/255")


def test_a_run_with_a_validation_attack_is_another_run_and_one_without_is_as_ever() -> None:
    plain = toy_spec()
    attacked = plain.replace(validation_attack=ValidationAttack(eps="8/255"))
    assert "validation_attack" not in plain.canonical() and plain.attack is None
    assert attacked.canonical()["validation_attack"] == {"eps": "8/255"}
    assert attacked.run_id != plain.run_id
    assert attacked.replace(best_by="robust_top1").attack == ValidationAttack(eps="8/255")
    with pytest.raises(ValidationError, match="there is nothing to attack in pretraining"):
        toy_spec("moco_v2").replace(validation_attack=ValidationAttack(eps="8/255"))


def test_the_evaluation_of_the_test_part_is_the_same_attack() -> None:
    made: dict[str, Any] = ValidationAttack(eps="2/255", steps=5, loss="margin").evaluation()
    found = load().catalog.ref("evaluation", "attack", made).params
    assert (found["eps"], found["steps"], found["loss"], found["median_images"]) == (["2/255"], 5, "margin", 0)
    assert [attack["name"] for attack in found["attacks"]] == ["pgd"]


FRONT = "objective={metric: [top1, robust_top1], attack: {eps: 2/255}}"


def test_two_metrics_make_a_front() -> None:
    study = load(FRONT).study
    assert study.objective.metrics == ("top1", "robust_top1") and study.objective.directions == ("max", "max")
    assert study.direction == "max" and load(FRONT).attack == ValidationAttack(eps="2/255")
    mixed = load("objective.metric=[cross_entropy, mean_per_class]")
    assert mixed.study.objective.directions == ("min", "max") and mixed.attack is None
    assert load().study.objective.metrics == ("top1",)


@pytest.mark.parametrize(
    "sets, said",
    [
        (["objective.metric=[top1]"], "objective.metric: must be one metric, or two for a front, [top1, robust_top1]"),
        (["objective.metric=[top1, top1]"], "objective.metric: a front is of two different metrics"),
        (["objective.metric=[top1, robust_top2]"], "got 'robust_top2'; did you mean robust_top1?"),
        (["objective.metric=3"], "objective.metric: must be one metric, or two for a front"),
        (["objective={metric: [top1, cross_entropy], direction: max}"], "two metrics have each their own"),
        (["objective.metric=[top1, robust_top1]"], "objective.attack: robust_top1 is measured under one attack"),
        (["objective={metric: [top1, cross_entropy], attack: {eps: 2/255}}"], "attack: it is made for metric: robust"),
        ([FRONT, "search={sampler: cmaes}"], "search.sampler: cmaes knows one metric; for a front take tpe, gp"),
        ([FRONT, "search={pruner: median}"], "search.pruner: median compares runs by one metric"),
        ([FRONT, "contrasts={pairs: [[core_tuning, ce]]}"], "contrasts: they judge one metric"),
    ],
)
def test_what_is_wrong_with_a_front_is_told_once(sets: list[str], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        load(*sets)
    (problem,) = caught.value.problems
    assert said in f"{problem.key}: {problem.message}"


def test_directions() -> None:
    assert load("objective.metric=cross_entropy").study.direction == "min"
    assert load(ATTACK).study.direction == "max"
    assert Objective(direction="min").direction == "min"
