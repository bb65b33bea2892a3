from __future__ import annotations

import json
from functools import cached_property
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from coretune.spec.frozen import Frozen, canonical_json, digest, union_members

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
SCALARS = SCALARS.filter(lambda value: not isinstance(value, str) or value.isprintable())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=10
)


class Part(Frozen):
    size: int = Field(3, ge=1)
    rate: float = 0.5
    either: int | float = 2
    maybe: int | None = None
    flag: bool = False
    word: Literal["a", "b"] = "a"


@given(VALUES)
def test_canonical_json_reads_back(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": [{"d": 1, "c": 2}]}) == '{"a":[{"c":2,"d":1}],"b":1}'
    assert canonical_json({"τ": (1, -0.0)}) == '{"τ":[1,0.0]}'


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_must_be_finite(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        canonical_json({"a": [number]})
    with pytest.raises(ValidationError, match="finite"):
        Part(rate=number)


def test_digest_is_a_prefix_of_one_hash() -> None:
    assert digest({"a": 1}, 64).startswith(digest({"a": 1}))
    assert len(digest({})) == 16
    assert digest({"a": 1}) != digest({"a": "1"})


@pytest.mark.parametrize("key", ["size", "rate", "either", "maybe"])
def test_truth_is_no_number(key: str) -> None:
    with pytest.raises(ValidationError, match="must be a number, got true"):
        Part.model_validate({key: True})
    assert Part(flag=True).flag is True


def test_frozen_refuses_unknown_keys_and_changes() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Part.model_validate({"sise": 1})
    with pytest.raises(ValidationError, match="frozen"):
        Part().size = 4  # type: ignore[misc]


def test_replace_validates_and_leaves_the_rest() -> None:
    part = Part(rate=0.25)
    assert part.replace(size=5) == Part(rate=0.25, size=5)
    with pytest.raises(ValidationError):
        part.replace(size=0)


def test_union_members_look_through_none_and_annotations() -> None:
    assert union_members(int | None) == (int,)
    assert set(union_members(int | float | None)) == {int, float}
    assert union_members(str) == (str,)


class Hashed(Frozen):
    size: int = 3

    @cached_property
    def square(self) -> int:
        return self.size**2


def test_a_copy_does_not_keep_what_was_cached_of_the_old_values() -> None:
    first = Hashed()
    assert first.square == 9
    assert [first.model_copy(update={"size": 4}).square, first.replace(size=5).square, first.square] == [16, 25, 9]
    assert first == Hashed() and hash(first) == hash(Hashed()), "what is cached is no part of it"
