"""The JSON Schema of a study file: every key with its meaning and default, for people, editors and other tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from coretune.spec.adversary import ADVERSARY_KEYS, AdversarySpec
from coretune.spec.augment import AugmentSpec
from coretune.spec.augment_presets import PRESET, PRESETS
from coretune.spec.components import Catalog, Component, EvaluationComponent, Kind
from coretune.spec.domains import HELD_OUT, DomainOptions
from coretune.spec.resolve import NO_ADVERSARY, RECIPE_KEYS
from coretune.spec.run import TrainSpec
from coretune.spec.segmentation import SEGMENTATION_KEYS, SegmentationSpec
from coretune.spec.study import APART, LABEL, MAX_LABEL, OF_THE_FILE, DataOptions, EvaluationOptions, Study

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_NUMBERS: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_SCALAR: Schema = {"type": ["boolean", "number", "string"]}
_FORMS: Mapping[str, tuple[str, Schema]] = {
    "uniform": ("Real numbers from low to high.", _NUMBERS),
    "log_uniform": ("Real numbers from low to high, each order of magnitude alike; low > 0.", _NUMBERS),
    "int": ("Whole numbers from low to high, both included.", {**_NUMBERS, "items": {"type": "integer"}}),
    "choice": ("One of these values.", {"type": "array", "items": _SCALAR, "minItems": 1, "uniqueItems": True}),
}


_SECTIONS: tuple[tuple[str, Kind], ...] = (
    ("methods", "method"),
    ("datasets", "dataset"),
    ("evaluations", "evaluation"),
)
_PARAMETERISED: tuple[tuple[Kind, str], ...] = (("backbone", "BackboneOptions"), ("pretraining", "PretrainOptions"))


def study_schema(catalog: Catalog) -> Schema:
    """Returns the JSON Schema (2020-12) of a study file.

    It says what each key may be by itself; what keys mean together, and which files exist, only loading can tell.

    Args:
        catalog: Whose methods, backbones, data sets, pre-trainings and evaluations a study may name.
    """
    schema = Study.model_json_schema()
    definitions: Schema = schema["$defs"]
    _add(definitions, "recipe", TrainSpec, RECIPE_KEYS)
    _add(definitions, "adversary", AdversarySpec, ADVERSARY_KEYS)
    _add(definitions, "segmentation", SegmentationSpec, SEGMENTATION_KEYS)
    _add(definitions, "augment", AugmentSpec, AugmentSpec.model_fields)
    _add(definitions, "DomainOptions", DomainOptions, DomainOptions.model_fields)
    _add(definitions, "EvaluationOptions", EvaluationOptions, EvaluationOptions.model_fields)
    definitions["space"] = _space()
    definitions["searched_recipe"] = _closed(
        {key: _or_space(value) for key, value in definitions["recipe"]["properties"].items()},
        "The training recipe; each value may be a search space.",
    )
    properties: Schema = schema["properties"]
    properties["train"] |= _ref("searched_recipe")
    _point(properties["adversary"], "adversary")
    _point(properties["segmentation"], "segmentation")
    names: Schema = {"enum": list(PRESETS), "description": "Name of a preset."}
    definitions["augment"]["properties"][PRESET] = names
    for owner in ("DataOptions", "PretrainOptions"):
        augment = definitions[owner]["properties"]["augment"]
        _point(augment, "augment")
        augment.setdefault("anyOf", [{"$ref": augment.pop("$ref", "")}]).insert(1, names)
    _point(definitions["PretrainOptions"]["properties"]["train"], "recipe")
    _name_backbones(catalog, definitions)
    for section, kind in _SECTIONS:
        entries = {name: _entry(catalog.get(kind, name), definitions) for name in _names(catalog, kind)}
        _labelled(properties[section], kind, entries, definitions)
    for form, least in zip(properties["evaluations"]["anyOf"], ("minProperties", "minItems"), strict=True):
        del form[least]  # a study needs none
    definitions["EvaluationOptions"]["properties"]["evaluation"]["anyOf"] = [
        {"enum": _names(catalog, "evaluation")},
        {"type": "null"},
    ]
    _labelled_list(properties["backbones"], catalog.names("backbone"))
    properties["backbones"]["anyOf"][0]["additionalProperties"] = _nullable(_ref("BackboneOptions"))
    properties["smoke"] |= {
        "properties": {key: {"$ref": f"#/properties/{key}"} for key in properties if key not in OF_THE_FILE},
        "additionalProperties": False,
    }
    for section in ("evaluations", "data", "train", "search", "finals", "objective", "resources", "plugins", "smoke"):
        properties[section] = _nullable(properties[section])
    return {"$schema": DIALECT, **schema}


def _names(catalog: Catalog, kind: Kind) -> list[str]:
    """Returns the names of a kind that a study may use."""
    return [name for name in catalog.names(kind) if not _beyond_studies(catalog.get(kind, name))]


def _beyond_studies(component: Component) -> bool:
    """Returns whether a component is there, but not for a study."""
    return isinstance(component, EvaluationComponent) and component.surrogate


def _entry(component: Component, definitions: Schema) -> Schema:
    """Adds a component's parameters to the definitions, and returns the schema of what its label may hold."""
    kind, name = component.kind, component.name
    _add(definitions, f"{kind}.{name}.parameters", component.parameters, component.parameters.model_fields)
    keys = dict(definitions[f"{kind}.{name}.parameters"]["properties"])
    if kind == "method":
        keys = {key: _or_space(value) for key, value in keys.items()}
        keys["train"] = _nullable({"description": "What this method changes in the recipe.", **_ref("searched_recipe")})
        keys["adversary"] = {
            "description": "What this method changes in the study's adversary; `none` for no adversary.",
            "anyOf": [_ref("adversary"), {"enum": [NO_ADVERSARY, None]}],
        }
    elif kind == "evaluation":
        keys |= definitions[EvaluationOptions.__name__]["properties"]
    else:
        keys |= definitions[DataOptions.__name__]["properties"] | definitions[DomainOptions.__name__]["properties"]
        keys["path"] = {
            "type": ["string", "null"],
            "default": None,
            "description": "Where the images are, relative to the study file.",
        }
        keys[APART] = {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Whether backbones are pre-trained on it (`pretrain.dataset`), and nothing is tuned on it.",
        }
    meaning = f"Name of the {kind}; null takes the label."
    keys[kind] = {"enum": [name, None], "default": None, "description": meaning}
    return _closed(keys, component.summary)


def _labelled(section: Schema, kind: Kind, entries: Mapping[str, Schema], definitions: Schema) -> None:
    """A label that is a component's name needs no `kind: name`; every other label does."""
    for name, entry in entries.items():
        definitions[f"{kind}.{name}"] = entry
    named = [{**_ref(f"{kind}.{name}"), "required": [kind]} for name in entries]
    if kind == "dataset":  # a data set with a path and no name is an image folder, or one of domains
        named.append({**_ref("dataset.folder"), "required": ["path"]})
        named.append({**_ref("dataset.domain_folders"), "required": ["path", HELD_OUT]})
    _labelled_list(section, entries)
    mapping = section["anyOf"][0]
    mapping["properties"] = {name: {"anyOf": [_nullable(_ref(f"{kind}.{name}")), *named]} for name in entries}
    mapping["additionalProperties"] = {"anyOf": named}


def _labelled_list(section: Schema, names: Iterable[str]) -> None:
    """Turns a section into its two forms: a mapping of labels, or a list of names."""
    for key in ("type", "additionalProperties", "patternProperties", "minProperties", "propertyNames"):
        section.pop(key, None)
    label_form = {"pattern": LABEL, "maxLength": MAX_LABEL}
    mapping: Schema = {"type": "object", "minProperties": 1, "propertyNames": label_form}
    listed = {"type": "array", "items": {"enum": sorted(names)}, "minItems": 1, "uniqueItems": True}
    section["anyOf"] = [mapping, listed]


def _name_backbones(catalog: Catalog, definitions: Schema) -> None:
    options = definitions["BackboneOptions"]["properties"]
    options["arch"]["anyOf"] = [{"enum": catalog.names("backbone")}, {"type": "null"}]
    definitions["PretrainOptions"]["properties"]["method"] |= {"enum": catalog.names("pretraining")}
    for kind, owner in _PARAMETERISED:
        for name in catalog.names(kind):
            parameters = catalog.get(kind, name).parameters
            _add(definitions, f"{kind}.{name}.parameters", parameters, parameters.model_fields)
        place = definitions[owner]["properties"]["params"]
        del place["additionalProperties"]
        place["anyOf"] = [_ref(f"{kind}.{name}.parameters") for name in catalog.names(kind)]


def _add(definitions: Schema, name: str, model: type[BaseModel], keys: Iterable[str]) -> None:
    """Adds a model of which only some keys may be said, and all have a default or may come from elsewhere."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    for inner, definition in schema.pop("$defs", {}).items():
        definitions[f"{name}.{inner}"] = definition
    properties = {key: schema.get("properties", {})[key] for key in keys}
    definitions[name] = _closed(properties, schema.get("description", ""))


def _closed(properties: Schema, description: str) -> Schema:
    return {"type": "object", "description": description, "properties": properties, "additionalProperties": False}


def _space() -> Schema:
    forms = [
        {
            **_closed({kind: {**form, "description": text}, "default": _default(), **_also(kind)}, text),
            "required": [kind],
        }
        for kind, (text, form) in _FORMS.items()
    ]
    return {"description": "A search space in place of a value.", "oneOf": forms}


def _default() -> Schema:
    return {**_SCALAR, "description": "Value of trial 0 and of `search: none`."}


def _also(kind: str) -> Schema:
    if kind == "choice":
        return {}
    text = "Values beside the range that are always tried, each in a trial of its own with the rest at its default."
    return {"also": {"type": "array", "items": {"type": "number"}, "description": text}}


def _or_space(value: Schema) -> Schema:
    said: Schema = {key: value[key] for key in ("description", "default", "title") if key in value}
    return {**said, "anyOf": [{key: value[key] for key in value if key not in said}, _ref("space")]}


def _nullable(value: Schema) -> Schema:
    said: Schema = {key: value[key] for key in ("description", "default") if key in value}
    return {**said, "anyOf": [{key: value[key] for key in value if key not in said}, {"type": "null"}]}


def _point(value: Schema, name: str) -> None:
    """Replaces the open mapping that a key may be by a definition."""
    mappings = value.get("anyOf", [value])
    for mapping in mappings:
        if mapping.get("type") == "object":
            del mapping["type"], mapping["additionalProperties"]
            mapping |= _ref(name)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
