"""Writes the reference of all study keys into docs/study-files.md, and their JSON Schema beside the shipped studies:
`python docs/make_reference.py`.

What a key means is said once, in `coretune.spec`; this script only sets it as tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coretune.spec.augment_presets import PRESETS
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Catalog, Component, DatasetComponent, Kind
from coretune.spec.overrides import LABELLED
from coretune.spec.presets import BELOW, LIMITS, RECIPE_LIMITS
from coretune.spec.schema import study_schema

PAGE = Path(__file__).with_name("study-files.md")
SCHEMA = Path(__file__).parents[1] / "studies" / "study.schema.json"
BEGIN = "<!-- reference:begin (python docs/make_reference.py) -->"
END = "<!-- reference:end -->"

WORDS = {"integer": "whole number", "boolean": "true or false", "string": "text", "object": "mapping", "null": "null"}
COUNTED = ("integer", "number", "string", "object")
"""What there may be several of, with an s behind its word."""
BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
SECTIONS = (
    ("DataOptions", "data"),
    ("DomainOptions", "datasets.LABEL"),
    ("ViewSpec", "data.test_view"),
    ("BackboneOptions", "backbones.LABEL"),
    ("PretrainOptions", "backbones.LABEL.pretrain"),
    ("recipe", "train"),
    ("adversary", "adversary"),
    ("segmentation", "segmentation"),
    ("augment", "augment"),
    ("SearchOptions", "search"),
    ("FinalsOptions", "finals"),
    ("EvaluationOptions", "evaluations.LABEL"),
    ("Objective", "objective"),
    ("ValidationAttack", "objective.attack"),
    ("ContrastOptions", "contrasts"),
    ("Resources", "resources"),
)
PLACES = {f"#/$defs/{name}": place for name, place in SECTIONS} | {"#/$defs/searched_recipe": "train"}
KINDS: tuple[tuple[Kind, str], ...] = (
    ("method", "Methods"),
    ("dataset", "Data sets"),
    ("backbone", "Backbones"),
    ("pretraining", "Pre-training"),
    ("evaluation", "Evaluations"),
)

Schema = Mapping[str, Any]


def reference(catalog: Catalog) -> str:
    """Returns the reference as Markdown."""
    schema = study_schema(catalog)
    required = schema["required"]
    parts = ["### The file", "", *key_table(schema["properties"], required), ""]
    for name, place in SECTIONS:
        definition = schema["$defs"][name]
        parts += [f"### `{place}`", "", definition["description"], ""]
        parts += [*key_table(definition["properties"], definition.get("required", ())), ""]
    parts += ["### Search spaces", "", *space_table(schema["$defs"]["space"]), ""]
    for kind, title in KINDS:
        parts += [f"### {title}", ""]
        for name in catalog.names(kind):
            parts += component_part(catalog.get(kind, name), schema["$defs"])
    parts += ["### Presets", "", *preset_table(), ""]
    return "\n".join([*parts, "### Presets of augmentation", "", *augment_table(), ""])


def key_table(properties: Schema, required: Sequence[str] = ()) -> list[str]:
    """Returns a table of keys: what each may be, its default, its meaning."""
    rows = []
    for key, item in properties.items():
        default = "required" if key in required else default_text(item)
        rows.append([f"`{key}`", value_text(key, item), default, item.get("description", "")])
    return table(["key", "value", "default", "meaning"], rows)


def value_text(key: str, item: Schema) -> str:
    """Returns what a key may be, in words; labelled sections have two forms that a schema says at length."""
    if key in LABELLED:
        return "labels: a mapping, or a list of names"
    return type_text(item)


def type_text(item: Schema, *, plural: bool = False) -> str:
    """Returns what a value may be, in words: `whole number ≥ 1 or null`; of several, `whole numbers ≥ 1`."""
    for many in ("anyOf", "oneOf"):
        if many in item:
            return " or ".join(dict.fromkeys(type_text(part, plural=plural) for part in item[many]))
    if "$ref" in item:
        place = PLACES.get(item["$ref"])
        return f"keys of [`{place}`](#{anchor(place)})" if place else "its parameters"
    if "enum" in item or "const" in item:
        return ", ".join(f"`{value}`" for value in item.get("enum", [item.get("const")]))
    if item.get("type") == "array":
        inner = item.get("prefixItems")
        if inner:
            return f"[{', '.join(map(type_text, inner))}]"
        count = item.get("minItems")
        if count is not None and count == item.get("maxItems"):
            return f"list of {count} of {type_text(item.get('items', {}))}"
        return f"list of {type_text(item.get('items', {}), plural=True)}"
    kind = str(item.get("type", "anything"))
    word = WORDS.get(kind, kind) + ("s" if plural and kind in COUNTED else "")
    bounds = " and ".join(f"{sign} {item[key]:,}" for key, sign in BOUNDS if key in item)
    return f"{word} {bounds}".rstrip()


def default_text(item: Schema) -> str:
    """Returns a default as a study file writes it; of a section, a pointer to its own table."""
    default = item.get("default")
    if isinstance(default, dict) and default:
        return "as below"
    if isinstance(default, str):
        return f"`{default}`" if default else "empty"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def space_table(space: Schema) -> list[str]:
    """Returns the forms of a search space."""
    examples = {"uniform": "[0.0, 0.5]", "log_uniform": "[1e-3, 3]", "int": "[1, 8]", "choice": "[0.01, 0.03, 0.1]"}
    forms = [next(iter(form["required"])) for form in space["oneOf"]]
    rows = [
        [f"`{{{kind}: {examples[kind]}}}`", form["description"]]
        for kind, form in zip(forms, space["oneOf"], strict=True)
    ]
    return table(["in place of a value", "meaning"], rows)


def component_part(component: Component, definitions: Schema) -> list[str]:
    """Returns what a study can say of one component."""
    lines = [f"**`{component.name}`**: {component.summary}."]
    lines += [f"Source: {component.source}."] if component.source else []
    lines += [f"Recipe of its own: {said(component.train)}."] if component.train else []
    if isinstance(component, DatasetComponent):
        masks = component.labels == "pixel"
        kept = "A class per pixel, for [segmentation](segmentation.md): images are kept at their own size; squares of"
        side = f"{kept} {component.image_size} pixels are cut." if masks else f"Side {component.image_size} pixels."
        lines += [f"{side} Augmentation: {said(component.augment)}."]
        lines += [f"Split: {component.splits}."] if component.splits else []
        lines += [f"Licence: {component.licence}."] if component.licence else []
    # Without parameters there: a component that a study cannot name.
    properties = definitions.get(f"{component.kind}.{component.name}.parameters", {"properties": {}})["properties"]
    if not properties:
        return [" ".join(lines), ""]
    rows = []
    for key, item in properties.items():
        row = [f"`{key}`", type_text(item), default_text(item), item.get("description", "")]
        space = component.space.get(key)
        rows.append([*row, f"`{space.describe()}`" if space else ""] if component.space else row)
    head = ["parameter", "value", "default", "meaning", *(["searched by default"] if component.space else [])]
    return [" ".join(lines), "", *table(head, rows), ""]


def said(values: Mapping[str, Any]) -> str:
    """Returns values as a study file writes them."""
    return ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in values.items())


def preset_table() -> list[str]:
    """Returns what each preset says."""
    rows = [
        [
            f"`{name}`",
            "below what the file says",
            said({f"{s}.{k}": v for s, keys in sections.items() for k, v in keys.items()}),
        ]
        for name, sections in BELOW.items()
    ]
    limits = {".".join(path): limit for path, limit in LIMITS.items()}
    limits |= {f"train.{key}": limit for key, limit in RECIPE_LIMITS.items()}
    rows.append(["`smoke`", "limits what the file says, pre-training included", said(limits)])
    return table(["preset", "how", "values"], rows)


def augment_table() -> list[str]:
    """Returns what each preset of `augment` says."""
    rows = [
        [f"`{name}`", preset.summary, said(preset.augment), said({f"data.{k}": v for k, v in preset.data.items()})]
        for name, preset in PRESETS.items()
    ]
    return table(["preset", "what", "keys of `augment`", "where the study does not say them"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns a Markdown table."""
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, ["---"] * len(head), *rows)
    ]


def anchor(heading: str) -> str:
    """Returns the anchor of a heading, as GitHub makes it of ASCII text."""
    kept = "".join(char for char in heading.lower() if char.isalnum() or char in " -_")
    return kept.replace(" ", "-")


def page(text: str, catalog: Catalog) -> str:
    """Returns the page's text with its reference made anew.

    Raises:
        ValueError: The page has not both marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} needs the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{reference(catalog)}\n{END}{after}"


def schema_text(catalog: Catalog) -> str:
    """Returns the JSON Schema that editors check shipped study files against."""
    return json.dumps(study_schema(catalog), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(load_catalog()), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), load_catalog()), encoding="utf-8")
