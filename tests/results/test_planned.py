from __future__ import annotations

from typing import Any

from coretune.results.planned import changes, plan_of
from coretune.spec.study import Study


def study(**keys: Any) -> Study:
    base = {"name": "x", "datasets": {"digits": {}}, "backbones": {"net": {}}, "methods": {"ce": {}, "scl": {}}}
    return Study.model_validate({**base, "contrasts": {"pairs": [["scl", "ce"]]}, **keys})


def test_what_a_plan_holds() -> None:
    found = plan_of(study())
    assert found["contrasts.pairs"] == [["scl", "ce"]] and found["contrasts.level"] == 0.05
    assert (found["finals.seeds"], found["search.trials"], found["seed"]) == (6, 20, 0)
    assert (found["datasets"], found["objective.metric"], found["objective.direction"]) == (["digits"], "top1", "max")


def test_the_attack_of_robust_accuracy_is_part_of_a_plan() -> None:
    found = plan_of(study(objective={"metric": "robust_top1", "attack": {"eps": "2/255"}}))
    assert found["objective.attack.eps"] == "2/255" and not [key for key in plan_of(study()) if "attack" in key]


def test_what_changes_a_plan_and_what_does_not() -> None:
    before = plan_of(study())
    assert changes(before, plan_of(study(resources={"slots": 2}, keep="none", description="other"))) == []
    assert changes(before, plan_of(study(finals={"seeds": 16}))) == ["finals.seeds from 6 to 16"]
    assert changes(before, plan_of(study(contrasts={"pairs": [["ce", "scl"]], "equivalence": 0.5}))) == [
        "contrasts.equivalence from nothing to 0.5",
        "contrasts.pairs without [scl, ce] and with [ce, scl]",
    ]
    assert changes(before, plan_of(study(objective={"metric": "cross_entropy"}))) == [
        "objective.metric from top1 to cross_entropy",
        "objective.direction from max to min",
    ]
    assert "search from nothing to none" in changes(before, plan_of(study(search="none")))


def test_a_pair_that_is_gone_is_named() -> None:
    before = {"contrasts.pairs": [["scl", "ce"], ["bss", "ce"]], "datasets": ["digits"]}
    after = {"contrasts.pairs": [["bss", "ce"]], "datasets": ["digits", "shapes"]}
    assert changes(before, after) == ["contrasts.pairs without [scl, ce]", "datasets with shapes"]
    assert changes(before, {**before, "contrasts.pairs": [["bss", "ce"], ["scl", "ce"]]}) == [
        "contrasts.pairs in another order"
    ]
