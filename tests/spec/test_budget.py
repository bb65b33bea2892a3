from __future__ import annotations

from typing import Any

import pytest

from coretune.spec.budget import unequal_budgets
from coretune.spec.study import Study


def said(trials: dict[str, int], **train: Any) -> str | None:
    study = Study(name="x", datasets={"d": {}}, backbones={"b": {}}, methods={"a": {}}, train=train)
    return unequal_budgets(study, trials)


@pytest.mark.parametrize("trials", [{}, {"a": 0}, {"a": 0, "b": 0}, {"a": 8, "b": 8}, {"a": 4, "b": 9}])
def test_all_or_none_is_no_matter(trials: dict[str, int]) -> None:
    assert said(trials) is None


def test_what_differs_and_what_to_do() -> None:
    text = said({"ce": 0, "core_tuning": 12}, lr=0.03)
    assert text == (
        "budgets differ: ce searches nothing, core_tuning has 12 trials; give train.lr a range, "
        "e.g. {log_uniform: [0.003, 0.3]}, so that every method searches"
    )
    many = said({"a": 0, "b": 1200, "c": 0, "d": 1, "e": 0})
    assert many is not None and "a, c and e search nothing, b and d have 1 to 1,200 trials; give train.lr" in many


def test_where_the_study_has_a_range_the_methods_own_value_is_in_its_way() -> None:
    text = said({"a": 0, "b": 1, "c": 0}, lr={"log_uniform": [0.01, 0.1]})
    assert text is not None and "b has 1 trial; give methods.a.train.lr and methods.c.train.lr a range" in text
