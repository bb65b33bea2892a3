from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from coretune.spec.augment import AugmentSpec
from coretune.spec.frozen import Frozen
from coretune.spec.study import BackboneOptions, Study
from coretune.spec.wording import all_of, describe, locate, nearest, shown


class Inner(Frozen):
    depth: int = Field(1, ge=1, le=9)


class Outer(Frozen):
    inner: Inner = Inner()
    many: dict[str, Inner] = Field({})
    listed: tuple[Inner, ...] = ()
    either: int | str = 3
    word: Literal["alpha", "beta"] | None = None
    ratio: float = Field(0.5, gt=0, lt=1)
    code: str = Field("a", pattern="^a+$", description="the letter a, at least once")
    flag: bool = False
    text: str = ""
    several: tuple[int, ...] = Field((1, 2), min_length=2)


def messages(model: type[Frozen], raw: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(raw)
    found: dict[Any, list[Any]] = {}
    for detail in caught.value.errors():
        spot = locate(model, detail["loc"])
        found.setdefault(spot, []).append(detail)
    return {".".join(map(str, spot.path)): describe(details, spot) for spot, details in found.items()}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"iner": 1}, {"iner": "unknown key; did you mean inner?"}),
        ({"inner": {"dept": 1}}, {"inner.dept": "unknown key; did you mean depth?"}),
        ({"many": {"depth": {"dept": 1}}}, {"many.depth.dept": "unknown key; did you mean depth?"}),
        ({"many": {"x": {"zzz": 1}}}, {"many.x.zzz": "unknown key; known: depth"}),
        ({"listed": [{"depth": 1}, {"depth": 0}]}, {"listed.1.depth": "must be at least 1, got 0"}),
        ({"inner": {"depth": 5.5}}, {"inner.depth": "must be a whole number, got 5.5"}),
        ({"inner": {"depth": None}}, {"inner.depth": "must be a whole number, got null"}),
        ({"inner": {"depth": True}}, {"inner.depth": "must be a number, got true"}),
        ({"inner": 3}, {"inner": "must be a mapping of keys to values, got 3"}),
        ({"many": [1]}, {"many": "must be a mapping of keys to values, got [1]"}),
        ({"listed": "abc"}, {"listed": "must be a list, got 'abc'"}),
        ({"either": [1]}, {"either": "must be a whole number or text, got [1]"}),
        ({"word": "alpa"}, {"word": "must be one of alpha, beta, got 'alpa'; did you mean alpha?"}),
        ({"word": 7}, {"word": "must be one of alpha, beta, got 7"}),
        ({"ratio": 0}, {"ratio": "must be greater than 0.0, got 0"}),
        ({"ratio": 1}, {"ratio": "must be less than 1.0, got 1"}),
        ({"ratio": float("inf")}, {"ratio": "must be a finite number, got inf"}),
        ({"ratio": "half"}, {"ratio": "must be a number, got 'half'"}),
        ({"code": "b"}, {"code": "'b' has not the right form: the letter a, at least once"}),
        ({"flag": "perhaps"}, {"flag": "must be true or false, got 'perhaps'"}),
        ({"several": [1]}, {"several": "needs at least 2 entries, got [1]"}),
        ({"text": 3}, {"text": "must be text, got 3; put it in quotes"}),
    ],
)
def test_messages_say_what_would_be_right(raw: dict[str, Any], expected: dict[str, str]) -> None:
    assert messages(Outer, raw) == expected


def test_a_model_as_a_whole_has_no_path() -> None:
    assert list(messages(AugmentSpec, {"crop_scale": [0.5, 2]}).values()) == [
        "a crop must be at most the whole image, 1.0, got [0.5, 2.0]"
    ]


def study(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datasets": {"digits": {}}, "backbones": {"resnet18": {}}, "methods": {"ce": {}}} | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"search": {"trials": 0}}, {"search.trials": "must be at least 1, got 0"}),
        ({"search": "tpe"}, {"search": "must be none or a mapping, got 'tpe'"}),
        ({"search": 5}, {"search": "must be a mapping of keys to values, got 5"}),
        ({"methods": {"a.b": {}}}, {"methods.a.b": None}),
        ({"backbones": {"b": {"pretrain": {"epochs": 1}}}}, {"backbones.b.pretrain.epochs": None}),
        ({"backbones": {}}, {"backbones": "needs at least one entry"}),
    ],
)
def test_unions_and_keys_leave_no_mark_in_a_path(changes: dict[str, Any], expected: dict[str, str | None]) -> None:
    found = messages(Study, study(**changes))
    assert list(found) == list(expected)
    for key, message in expected.items():
        assert message is None or found[key] == message


def test_locate_finds_the_model_that_owns_a_key() -> None:
    spot = locate(Study, ("backbones", "b", "arch"))
    assert spot.owner is BackboneOptions
    assert spot.field is BackboneOptions.model_fields["arch"]
    assert locate(Study, ("datasets", "[key]", "[key]")).path == ("datasets", "[key]")
    assert locate(Study, ("datasets", "d", "anything", 3)).path == ("datasets", "d", "anything", 3)


def test_nearest_and_shown() -> None:
    assert nearest("epoch", ["epochs", "lr"]) == "; did you mean epochs?"
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
    assert nearest("zzz", []) == "; known: none"
    assert [shown(value) for value in (None, True, 0.0, "a", [1, "b"], {"a": None})] == [
        "null", "true", "0.0", "'a'", '[1, "b"]', '{"a": null}',
    ]  # fmt: skip
    assert len(shown("x" * 1000)) == 60


def test_names_are_listed_as_in_a_sentence() -> None:
    assert [all_of(["a"]), all_of(["a", "b"]), all_of(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
