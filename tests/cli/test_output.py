from __future__ import annotations

import json
import math
from typing import Any

import pytest

from coretune.errors import RequestError
from coretune_cli.arguments import check_only, parse_only
from coretune_cli.output import PIPED_WIDTH, console, finite, note, show_json


def test_json_is_alone_on_stdout_and_always_valid(capsys: pytest.CaptureFixture[str]) -> None:
    note("a note")
    show_json({"a": math.nan, "b": [math.inf, 1.5], "τ": (1, 2)})
    said = capsys.readouterr()
    assert json.loads(said.out, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5], "τ": [1, 2]}
    assert said.err == "a note\n"


def test_finite_leaves_the_rest_alone() -> None:
    assert finite({"a": "nan", 1: True, "b": None}) == {"a": "nan", "1": True, "b": None}


def test_a_pipe_is_a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console().width == PIPED_WIDTH
    monkeypatch.setenv("COLUMNS", "66")
    assert console().width == 66


def test_notes_are_not_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    note("coretune study resume /a/very/long/path/to/results")
    assert capsys.readouterr().err == "coretune study resume /a/very/long/path/to/results\n"


def test_parse_only() -> None:
    assert parse_only(None) == {}
    assert parse_only(["dataset=cifar10", "method=a=b", "dataset=cifar10"]) == {"dataset": "cifar10", "method": "a=b"}


@pytest.mark.parametrize("items", [["dataset"], ["=x"], ["dataset="], ["seed=3"], ["dataset=a", "dataset=b"]])
def test_parse_only_refuses(items: list[str]) -> None:
    with pytest.raises(RequestError, match="--only"):
        parse_only(items)


def test_check_only() -> None:
    labels: dict[str, Any] = {"dataset": ["a", "b", "a"]}
    check_only({"dataset": "a"}, labels)
    with pytest.raises(RequestError, match="it is one of a, b"):
        check_only({"dataset": "c"}, labels)
