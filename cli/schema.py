"""`coretune study schema`: the keys of a study file, and what each may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coretune_cli.arguments import JsonOption
from coretune_cli.output import show, show_json

PARAMETERS = ".parameters"
PLACES = {
    "DataOptions": "data.*",
    "augment": "data.augment.*",
    "ViewSpec": "data.test_view.*",
    "BackboneOptions": "backbones.LABEL.*",
    "PretrainOptions": "backbones.LABEL.pretrain.*",
    "recipe": "train.*",
    "adversary": "adversary.*",
    "SearchOptions": "search.*",
    "FinalsOptions": "finals.*",
    "EvaluationOptions": "evaluations.LABEL.*",
    "Objective": "objective.*",
    "ValidationAttack": "objective.attack.*",
    "Resources": "resources.*",
}
"""Where the keys of a definition stand in a study file, in the order in which they are printed."""


def schema(as_json: JsonOption = False) -> int:
    """Print every key of a study file: meaning, unit, default. With --json a JSON Schema."""
    from coretune.spec.catalog import load_catalog
    from coretune.spec.schema import study_schema

    value = study_schema(load_catalog())
    if as_json:
        show_json(value)
    else:
        show(schema_view(value))
    return 0


def schema_view(value: Mapping[str, Any]) -> RenderableType:
    """Draws a study file's keys, block by block: its sections, a search space, and what it can name."""
    definitions: Mapping[str, Any] = value["$defs"]
    blocks = _block("a study file", value)
    for name, where in PLACES.items():
        blocks += _block(where, definitions[name])
    blocks += _block("a search space, in place of a value: one of", _joined(definitions["space"]))
    for title, definition in _components(definitions):
        blocks += _block(title, definition)
    return Group(*blocks)


def type_text(definition: Mapping[str, Any]) -> str:
    """Writes what a key may be: `integer ≥ 1 | null`, `tpe | random`."""
    for many in ("anyOf", "oneOf", "allOf"):
        if many in definition:
            return " | ".join(dict.fromkeys(type_text(item) for item in definition[many]))
    if "enum" in definition:
        return " | ".join("null" if item is None else str(item) for item in definition["enum"])
    if "const" in definition:
        return str(definition["const"])
    if "$ref" in definition:
        return _where(str(definition["$ref"]).rpartition("/")[2])
    kind = definition.get("type", "any")
    bounds = [
        f"{sign} {definition[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in definition
    ]
    return " ".join([" | ".join(kind) if isinstance(kind, list) else str(kind), *bounds])


def _components(definitions: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields a title and the parameters of all that a study can name."""
    for key, definition in definitions.items():
        if not key.endswith(PARAMETERS):
            continue
        component = key.removesuffix(PARAMETERS)
        kind, _, name = component.partition(".")
        summary = definitions.get(component, {}).get("description", "")
        title = f"{kind} {name}" + (f": {summary}" if summary else "")
        yield title + ("" if definition["properties"] else " (no parameters)"), definition


def _joined(space: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the forms of a search space as the keys of one definition."""
    keys: dict[str, Any] = {}
    for form in space["oneOf"]:
        keys |= form["properties"]
    default = keys.pop("default")
    return {"properties": {**keys, "default": default}}


def _block(title: str, definition: Mapping[str, Any]) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=34)
    table.add_column(max_width=16, overflow="fold")
    table.add_column(style="dim")
    required = definition.get("required", [])
    for key, item in definition.get("properties", {}).items():
        default = "required" if key in required else _default(item["default"]) if "default" in item else ""
        table.add_row(f"  {key}", type_text(item), default, item.get("description", ""))
    return [Text(title, style="bold"), table, Text("")]


def _default(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_default, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "…" if isinstance(value, dict) and value else str(value)


def _where(name: str) -> str:
    if name == "space":
        return "a space"
    if name == "searched_recipe":
        return PLACES["recipe"]
    return PLACES.get(name, name.removesuffix(PARAMETERS).replace(".", " "))
