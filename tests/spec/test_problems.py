from __future__ import annotations

import pytest
from pydantic import ValidationError

from coretune.errors import StudyError
from coretune.spec.problems import Problems
from coretune.spec.run import TrainSpec
from coretune.spec.yamlfile import parse_yaml

DOCUMENT = parse_yaml("name: x\ntrain:\n  lr: 1\n  epochs: 0\nmethods:\n- a\n- b\n", "s.yaml")


def test_a_problem_has_its_line_or_that_of_what_holds_it() -> None:
    problems = Problems(DOCUMENT)
    assert str(problems.make(("train", "epochs"), "wrong")) == "s.yaml:4: train.epochs: wrong"
    assert problems.make(("train", "batch"), "missing").line == 2


def test_a_problem_comes_once_and_all_come_in_the_order_of_lines() -> None:
    problems = Problems(DOCUMENT)
    problems.overridden(("seed",), "--set seed=x")
    problems.add(("seed",), "wrong")
    for _ in range(2):
        problems.add(("train", "epochs"), "wrong")
        problems.add(("name",), "wrong")
    with pytest.raises(StudyError) as caught:
        problems.stop_if_any()
    assert str(caught.value).splitlines() == [
        "s.yaml:1: name: wrong",
        "s.yaml:4: train.epochs: wrong",
        "--set seed=x: seed: wrong",
    ]
    Problems(DOCUMENT).stop_if_any()


def test_an_override_is_named_where_it_may_be_the_cause() -> None:
    problems = Problems(DOCUMENT)
    problems.overridden(("train", "epochs"), "--set train.epochs=3")
    assert str(problems.make(("train", "epochs", "x"), "wrong")).startswith("--set train.epochs=3: train.epochs.x")
    assert str(problems.make(("train",), "odd")) == "s.yaml:2: train: odd (with --set train.epochs=3)"
    assert str(problems.make(("name",), "odd")) == "s.yaml:1: name: odd"
    problems.overridden(("seed",), "--set seed=" + "1" * 500)
    assert len(problems.make(("seed",), "").file) <= 60


def test_a_label_of_a_list_stands_at_its_item() -> None:
    problems = Problems(DOCUMENT)
    problems.stands_at(("methods", "b"), ("methods", 1))
    assert problems.make(("methods", "b", "train"), "").line == 7


def test_errors_of_a_model_are_added_below_their_key() -> None:
    problems = Problems(DOCUMENT)
    try:
        TrainSpec.model_validate({"epochs": 0, "optimiser": "sgd"})
    except ValidationError as error:
        assert problems.add_errors(("train",), error, TrainSpec, only={"epochs"}, suffix="!") == [("train", "epochs")]
    assert [str(problem) for problem in problems.found] == ["s.yaml:4: train.epochs: must be at least 1, got 0!"]
