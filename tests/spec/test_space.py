from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.spec.space import Space, is_space, misspelt_space, parse_space

NUMBERS = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("raw", "space"),
    [
        ({"uniform": [0, 1]}, Space("uniform", 0.0, 1.0)),
        ({"log_uniform": [1e-3, 3], "default": 0.1}, Space("log_uniform", 1e-3, 3.0, default=0.1)),
        ({"int": [1, 5]}, Space("int", 1.0, 5.0)),
        ({"log_uniform": [1e-3, 3], "also": [0]}, Space("log_uniform", 1e-3, 3.0, also=(0,))),
        ({"int": [1, 1e3]}, Space("int", 1.0, 1000.0)),
        ({"choice": ["a", 2, True]}, Space("choice", options=("a", 2, True))),
    ],
)
def test_forms_read_and_write(raw: dict[str, Any], space: Space) -> None:
    assert is_space(raw)
    assert parse_space(raw) == space
    assert parse_space(space.to_dict()) == space


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"log_unifrm": [1, 2]}, "log_uniform"),
        ({"uniformly": [0, 1], "default": 0}, "uniform"),
        ({"choices": [1]}, "choice"),
        ({"choice": [1]}, None),
        ({"weights": [1]}, None),
        ({"unifrom": [1], "x": 2}, None),
        ([1], None),
        (None, None),
    ],
)
def test_a_misspelt_space_is_recognised(raw: Any, kind: str | None) -> None:
    assert misspelt_space(raw) == kind


@given(
    space=st.sampled_from(
        [
            Space("uniform", -2.0, 3.0),
            Space("log_uniform", 1e-3, 3.0),
            Space("int", -3, 4),
            Space("choice", options=("a", 2, True)),
        ]
    ),
    fraction=st.floats(0, 1, exclude_max=True),
)
def test_every_fraction_of_a_space_is_in_it(space: Space, fraction: float) -> None:
    assert space.contains(space.at(fraction))


def test_fractions_are_of_lengths_logarithms_and_options() -> None:
    assert Space("uniform", -2.0, 2.0).at(0.75) == 1.0
    assert Space("log_uniform", 0.01, 1.0).at(0.5) == pytest.approx(0.1)
    assert [Space("int", 1, 4).at(i / 4) for i in range(4)] == [1, 2, 3, 4]
    assert [Space("choice", options=("a", "b")).at(f) for f in (0.0, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"uniform": [0, 1], "int": [0, 1]}, "has one of"),
        ({"uniform": [0, 1], "step": 2}, "has one of"),
        ({"uniform": [1, 1]}, "low < high"),
        ({"uniform": [1, 0]}, "low < high"),
        ({"uniform": [0, float("inf")]}, "low < high"),
        ({"uniform": [float("nan"), 1]}, "low < high"),
        ({"uniform": [0, 10**400]}, "a float can hold"),
        ({"uniform": [0]}, "two numbers"),
        ({"uniform": ["a", "b"]}, "two numbers"),
        ({"uniform": [False, True]}, "two numbers"),
        ({"uniform": 3}, "a list of plain values"),
        ({"uniform": [[1], 2]}, "a list of plain values"),
        ({"log_uniform": [0, 1]}, "low > 0"),
        ({"int": [0.5, 3]}, "whole numbers"),
        ({"int": [1, 3], "also": [0.5]}, "also has a whole number outside"),
        ({"uniform": [0, 1], "also": [0.5]}, "outside of"),
        ({"uniform": [0, 1], "also": ["a"]}, "also has a number"),
        ({"uniform": [0, 1], "also": 3}, "also must be a list"),
        ({"choice": [1, 2], "also": [3]}, "among the options"),
        ({"choice": []}, "at least one"),
        ({"choice": [1, 1]}, "twice"),
        ({"choice": [1, None]}, "plain values"),
        ({"uniform": [0, 1], "default": 2}, "outside"),
        ({"uniform": [0, 1], "default": "x"}, "outside"),
        ({"uniform": [0, 1], "default": True}, "outside"),
        ({"uniform": [0, 1], "default": [0]}, "outside"),
        ({"int": [0, 5], "default": 2.5}, "outside"),
        ({"choice": [1, 2], "default": {}}, "outside"),
    ],
)
def test_bad_forms_are_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_space(raw)


@given(NUMBERS, NUMBERS)
def test_edges_and_probes_lie_inside(one: float, other: float) -> None:
    if one == other:
        return
    space = Space("uniform", min(one, other), max(one, other))
    assert all(space.contains(value) for value in (*space.edges(), *space.probes()))
    assert not space.contains(space.high + 1)


def test_probes_tell_a_real_from_a_whole_number() -> None:
    assert any(not float(value).is_integer() for value in Space("uniform", 1, 5).probes())
    assert Space("int", 1, 5).probes() == (1, 2, 5)
    assert Space("int", 1, 2).probes() == (1, 2)


def test_descriptions() -> None:
    assert Space("log_uniform", 0.001, 3).describe() == "log_uniform [0.001, 3]"
    assert Space("choice", options=(1, "a")).describe() == "choice [1, 'a']"
    assert not is_space({"lr": 1})
    assert not is_space([1])
