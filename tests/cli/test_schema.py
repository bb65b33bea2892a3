from __future__ import annotations

import json
from typing import Any

from coretune.spec.study import Study
from coretune_cli.schema import type_text


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
    assert "epochs" in value["x-train"]["properties"]
    assert "core_tuning" in value["x-components"]["method"]


def test_types_in_words() -> None:
    assert type_text({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}) == "integer ≥ 1 | null"
    assert type_text({"enum": ["a", "b"]}) == "a | b"
    assert type_text({"$ref": "#/$defs/SearchOptions"}) == "search.*"
    assert type_text({"type": "number", "exclusiveMinimum": 0, "maximum": 1}) == "number > 0 ≤ 1"
    assert type_text({}) == "any"
