"""Which attacks an evaluation makes: one canonical form whichever way it is said, and refusals with hints."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from coretune.spec.catalog.attack_choice import AttackChoice, AttackParameters
from coretune.spec.catalog.attacks import ATTACKS

NAMES = {
    "fgsm",
    "pgd",
    "mi-fgsm",
    "apgd-ce",
    "apgd-dlr",
    "apgd-t",
    "fab-t",
    "square",
    "cw",
    "deepfool",
    "tpgd",
    "eot-pgd",
    "autoattack",
    "autoattack-rand",
}


def parameters(**said: Any) -> AttackParameters:
    return AttackParameters.model_validate(said)


def names(chosen: tuple[AttackChoice, ...]) -> list[str]:
    return [choice.name for choice in chosen]


def test_the_fields_names_are_declared() -> None:
    assert set(ATTACKS) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_declaration_has_sound_defaults_and_members(name: str) -> None:
    component = ATTACKS[name]
    assert component.name == name and component.summary and component.source
    component.parameters()
    assert bool(component.target) != bool(component.members)
    for norm in component.norms:
        assert parameters(attacks=[name], norm=norm).chosen()


def test_one_choice_has_one_form() -> None:
    forms: list[Any] = [
        {"attacks": "pgd, square", "eps": "0,8/255,0.03", "step_size": "eps / 4.0"},
        {"attacks": [{"name": "pgd", "steps": 20}, "square"], "eps": ["8/255", 0.03], "step_size": "eps/4"},
        {"attacks": [{"name": "pgd", "params": {}}, {"name": "square", "version": 1}], "eps": ["0.03", "16/510"]}
        | {"step_size": "1*eps/4"},
    ]
    dumped = [parameters(**form).model_dump(mode="json", exclude_defaults=True) for form in forms]
    assert dumped[0] == dumped[1] == dumped[2]
    assert dumped[0] == {
        "attacks": [{"name": "pgd"}, {"name": "square"}],
        "eps": ["0.03", "8/255"],
        "step_size": "eps/4",
    }
    assert parameters(**dumped[0]) == parameters(**forms[0])


def test_nothing_said_is_nothing_in_the_id() -> None:
    default = parameters()
    assert default.model_dump(mode="json", exclude_defaults=True) == {}
    assert default.headline_eps in default.grid
    assert names(default.chosen()) == ["apgd-ce", "apgd-t", "fab-t", "square"]


def test_options_go_to_all_attacks_that_have_them_and_an_attacks_own_wins() -> None:
    chosen = parameters(attacks=["pgd", {"name": "apgd-ce", "steps": 7}, "square"], steps=40, restarts=3).chosen()
    expected = [{"steps": 40, "restarts": 3}, {"steps": 7, "restarts": 3}, {"restarts": 3}]
    assert [choice.params for choice in chosen] == expected


def test_a_set_hands_its_parameters_to_its_members() -> None:
    chosen = parameters(attacks=[{"name": "autoattack", "queries": 9, "targets": 2}], steps=11).chosen()
    by_name = {choice.name: choice.params for choice in chosen}
    assert by_name["square"] == {"queries": 9}
    assert by_name["apgd-t"] == {"steps": 11, "targets": 2}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"attacks": ["pdg"]}, "unknown attack 'pdg'; did you mean pgd"),
        ({"attacks": [{"name": "pgd", "stps": 3}]}, "pgd has no parameter 'stps'; did you mean steps"),
        ({"attacks": [{"name": "pgd", "steps": 0}]}, "pgd.steps: Input should be greater than or equal to 1"),
        ({"attacks": [{"name": "pgd", "version": 7}]}, "version 7 is asked for, version 1 is here"),
        ({"attacks": []}, "at least one attack"),
        ({"attacks": ["cw"]}, "cw works in l2, not in linf"),
        ({"attacks": ["square"], "steps": 3}, "steps is said, but no attack of square has it"),
        ({"eps": ["8"]}, 'grey levels are "8/255"'),
        ({"eps": [0]}, "eps needs a size above 0"),
        ({"eps": ["1/255"], "headline": "2/255"}, "headline 2/255 is none of eps"),
        ({"step_size": "half"}, "'half' is no step size"),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parameters(**said)


def test_a_headline_may_be_named() -> None:
    assert parameters(eps=["1/255", "2/255"]).headline_eps == "2/255"
    assert parameters(eps=["1/255", "2/255"], headline="1/255").headline_eps == "1/255"
