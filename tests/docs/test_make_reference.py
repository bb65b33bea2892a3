from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from coretune.spec.catalog import load_catalog
from coretune.spec.run import TrainSpec
from coretune.spec.study import Study

Script = Callable[[str], ModuleType]


def test_the_reference_is_up_to_date(script: Script) -> None:
    made = script("make_reference")
    text = made.PAGE.read_text(encoding="utf-8")
    assert made.page(text, load_catalog()) == text, "run: python docs/make_reference.py"


def test_the_schema_is_up_to_date_and_named_by_every_shipped_study(script: Script) -> None:
    made = script("make_reference")
    assert made.SCHEMA.read_text(encoding="utf-8") == made.schema_text(load_catalog()), "python docs/make_reference.py"
    for path in made.SCHEMA.parent.rglob("*.yaml"):
        (line,) = (line for line in path.read_text().splitlines() if line.startswith("# yaml-language-server: "))
        assert (path.parent / line.partition("$schema=")[2]).resolve() == made.SCHEMA.resolve(), path


def test_every_key_stands_in_it(script: Script) -> None:
    text = script("make_reference").reference(load_catalog())
    keys = [*Study.model_fields, *(key for key in TrainSpec.model_fields if key != "version")]
    assert [key for key in keys if f"| `{key}` |" not in text] == []
    assert "| `lr` | number > 0 | `0.01` |" in text
    assert "`log_uniform [0.001, 3] or 0`" in text


def test_types_in_words(script: Script) -> None:
    words = script("make_reference").type_text
    assert words({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}) == "whole number ≥ 1 or null"
    assert words({"type": "number", "exclusiveMinimum": 0, "maximum": 1}) == "number > 0 and ≤ 1"
    numbers = {"type": "number", "exclusiveMinimum": 0, "maximum": 4}
    assert words({"type": "array", "items": numbers}) == "list of numbers > 0 and ≤ 4"
    assert words(
        {"type": "array", "items": {"anyOf": [{"type": "string"}, numbers]}, "minItems": 2, "maxItems": 2}
    ) == ("list of 2 of text or number > 0 and ≤ 4")
    assert words({"enum": ["a", "b"]}) == "`a`, `b`"
    assert words({"$ref": "#/$defs/SearchOptions"}) == "keys of [`search`](#search)"


def test_a_page_without_marks_is_refused(script: Script) -> None:
    with pytest.raises(ValueError, match="needs the marks"):
        script("make_reference").page("# Study files", load_catalog())
