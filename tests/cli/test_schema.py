from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from coretune.spec.augment import AugmentSpec
from coretune.spec.catalog import load_catalog
from coretune.spec.schema import RECIPE_KEYS, study_schema
from coretune.spec.study import DataOptions, Study
from coretune_cli.schema import PLACES, schema_view, type_text


def test_every_key_is_described(cli: Any) -> None:
    said = cli("study", "schema")
    assert said.code == 0
    for key in (
        *Study.model_fields,
        "subset_seed",
        "contrast_batch",
        "labels_per_class",
        "log_uniform",
        "eta",
        "crop_scale",
    ):
        assert key in said.out, key


def test_json_schema(cli: Any) -> None:
    value = json.loads(cli("study", "schema", "--json").out)
    assert value["$schema"].startswith("https://json-schema.org/") and value["required"]
    assert set(value["properties"]) == set(Study.model_fields)
    assert "epochs" in value["$defs"]["recipe"]["properties"]
    assert "eta" in value["$defs"]["method.core_tuning.parameters"]["properties"]


@pytest.fixture(scope="module")
def view() -> str:
    screen = Console(width=140, file=io.StringIO())
    with screen.capture() as captured:
        screen.print(schema_view(study_schema(load_catalog())))
    return captured.get()


def test_the_view_has_a_block_for_each_place_and_each_component(view: str) -> None:
    heads = [line for line in view.splitlines() if line and not line.startswith(" ")]
    catalog = load_catalog()
    for where in PLACES.values():
        assert heads.count(where) == 1
    for kind in ("backbone", "pretraining", "method", "dataset", "evaluation"):
        for name in catalog.names(kind):
            found = [head for head in heads if head.split(":")[0].split(" (")[0] == f"{kind} {name}"]
            component = catalog.get(kind, name)  # a few are not for studies
            elsewhere = getattr(component, "surrogate", False)
            assert len(found) == (0 if elsewhere else 1), (kind, name)
    assert "method core_tuning: Core-tuning" in view and "method ce: CE-tuning" in view


def test_the_view_shows_each_key_with_its_default(view: str) -> None:
    rows = [line.split() for line in view.splitlines() if line.startswith("  ")]
    shown = {row[0] for row in rows if row}
    assert {*Study.model_fields, *DataOptions.model_fields, *AugmentSpec.model_fields, *RECIPE_KEYS} <= shown
    assert "version" not in shown, "it is no key of a study file"
    assert any(row[:5] == ["eta", "number", "≥", "0", "0.1"] for row in rows)
    assert any(row[:3] == ["name", "string", "required"] for row in rows)
    assert any(row[0:1] == ["crop_ratio"] and "[0.75," in row and "1.333]" in view for row in rows)


def test_references_lead_to_a_block(view: str) -> None:
    assert " #/" not in view and "$defs" not in view
    assert any(line.split()[:3] == ["train", "train.*", "|"] for line in view.splitlines())


def test_types_in_words() -> None:
    assert type_text({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}) == "integer ≥ 1 | null"
    assert type_text({"enum": ["a", "b"]}) == "a | b"
    assert type_text({"$ref": "#/$defs/SearchOptions"}) == "search.*"
    assert type_text({"type": "number", "exclusiveMinimum": 0, "maximum": 1}) == "number > 0 ≤ 1"
    assert type_text({"type": ["boolean", "number"]}) == "boolean | number"
    assert type_text({"enum": ["ce", None]}) == "ce | null"
    assert type_text({"$ref": "#/$defs/method.ce.parameters"}) == "method ce"
    assert type_text({"anyOf": [{"$ref": "#/$defs/recipe"}, {"$ref": "#/$defs/space"}]}) == "train.* | a space"
    assert type_text({}) == "any"
