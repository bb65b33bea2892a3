"""`coretune study schema`: the keys of a study file, and what each may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coretune_cli.arguments import JsonOption
from coretune_cli.output import show, show_json


def schema(as_json: JsonOption = False) -> int:
    """Print every key of a study file: meaning, unit, default. With --json a JSON Schema."""
    value = study_schema()
    if as_json:
        show_json(value)
    else:
        show(schema_view(value))
    return 0


def study_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a study file.

    `train`, `augment` and a component's parameters may hold search spaces, so that the schema leaves them open; their
    keys stand under `x-train`, `x-augment` and `x-components`.
    """
    from coretune.spec.catalog import load_catalog
    from coretune.spec.components import KINDS
    from coretune.spec.run import AugmentSpec, TrainSpec
    from coretune.spec.study import Study

    catalog = load_catalog()
    components = {
        kind: {
            name: {"summary": catalog.get(kind, name).summary, **catalog.get(kind, name).parameters.model_json_schema()}
            for name in catalog.names(kind)
        }
        for kind in KINDS
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Study.model_json_schema(),
        "x-train": TrainSpec.model_json_schema(),
        "x-augment": AugmentSpec.model_json_schema(),
        "x-components": components,
    }


def schema_view(value: Mapping[str, Any]) -> RenderableType:
    """Draws a study file's keys, block by block."""
    blocks: list[RenderableType] = _block("a study file", value)
    for name, definition in value.get("$defs", {}).items():
        blocks += _block(_where(name), definition)
    blocks += _block("train.*", value["x-train"]) + _block("data.augment.*", value["x-augment"])
    for kind, named in value["x-components"].items():
        for name, definition in named.items():
            blocks += _block(f"{kind} {name}: {definition['summary']}", definition)
    return Group(*blocks)


def type_text(definition: Mapping[str, Any]) -> str:
    """Writes what a key may be: `integer ≥ 1 | null`, `tpe | random`."""
    for many in ("anyOf", "oneOf", "allOf"):
        if many in definition:
            return " | ".join(dict.fromkeys(type_text(item) for item in definition[many]))
    if "enum" in definition:
        return " | ".join(map(str, definition["enum"]))
    if "const" in definition:
        return str(definition["const"])
    if "$ref" in definition:
        return _where(str(definition["$ref"]).rpartition("/")[2])
    bounds = [
        f"{sign} {definition[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in definition
    ]
    return " ".join([str(definition.get("type", "any")), *bounds])


def _block(title: str, definition: Mapping[str, Any]) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=34)
    table.add_column(max_width=16, overflow="fold")
    table.add_column(style="dim")
    required = definition.get("required", [])
    for key, item in definition.get("properties", {}).items():
        default = "required" if key in required else _default(item.get("default"))
        table.add_row(f"  {key}", type_text(item), default, item.get("description", ""))
    return [Text(title, style="bold"), table, Text("")]


def _default(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return "…" if isinstance(value, dict) and value else str(value)


def _where(name: str) -> str:
    keys = {
        "DataOptions": "data.*",
        "BackboneOptions": "backbones.LABEL.*",
        "PretrainOptions": "backbones.LABEL.pretrain.*",
        "SearchOptions": "search.*",
        "FinalsOptions": "finals.*",
        "Objective": "objective.*",
        "Resources": "resources.*",
    }
    return keys.get(name, name)
