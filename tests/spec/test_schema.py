from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import coretune_studies
from coretune.spec.catalog import load_catalog
from coretune.spec.schema import study_schema
from coretune.spec.study import Study
from coretune.spec.yamlfile import parse_yaml, read_yaml

SCHEMA = study_schema(load_catalog())
QUICKSTART = Path(coretune_studies.__path__[0]) / "quickstart.yaml"


def keys(schema: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for key, definition in schema.get("properties", {}).items():
            yield f"{where}.{key}", definition
        for key, inner in schema.items():
            yield from keys(inner, f"{where}/{key}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from keys(inner, f"{where}/{index}")


def described(definition: dict[str, Any]) -> bool:
    """A component's label is described where its definition stands."""
    inner = definition.get("anyOf", [])
    return bool(definition.get("description")) or any("$ref" in str(part) for part in [definition, *inner])


def test_every_key_is_described_and_has_its_default() -> None:
    found = dict(keys(SCHEMA))
    assert len(found) > 80
    assert [where for where, definition in found.items() if not described(definition)] == []
    for name, info in Study.model_fields.items():
        assert ("default" in SCHEMA["properties"][name]) != info.is_required(), name
    recipe = SCHEMA["$defs"]["searched_recipe"]["properties"]
    assert recipe["lr"]["default"] == 0.01
    assert "version" not in recipe


def test_it_names_what_the_catalog_has() -> None:
    text = str(SCHEMA)
    catalog = load_catalog()
    for kind in ("method", "dataset", "backbone", "pretraining", "evaluation"):
        for name in catalog.names(kind):
            no_study_can_use_it = (kind, name) == ("evaluation", "transfer")
            assert bool(re.search(rf"{kind}\.{name}\b", text)) is not no_study_can_use_it
    assert "transfer" not in SCHEMA["$defs"]["EvaluationOptions"]["properties"]["evaluation"]["anyOf"][0]["enum"]


def test_every_reference_is_there() -> None:
    def references(schema: Any) -> Iterator[str]:
        if isinstance(schema, dict):
            if "$ref" in schema:
                yield schema["$ref"]
            for inner in schema.values():
                yield from references(inner)
        elif isinstance(schema, list):
            for inner in schema:
                yield from references(inner)

    places = {f"#/$defs/{name}" for name in SCHEMA["$defs"]} | {f"#/properties/{name}" for name in SCHEMA["properties"]}
    assert set(references(SCHEMA)) <= places


GOOD = [
    "",
    "search: none",
    "objective: {metric: robust_top1, attack: {eps: 2/255, loss: margin}}",
    "objective: {metric: [top1, robust_top1], attack: {eps: 0.5, norm: l2}}",
    "adversary: {attack: pgd, eps: 8/255, step_size: null}",
    "adversary: {attack: trades, eps: 0.03}\nmethods: {ce: {adversary: none}, core_tuning: {adversary: {eps: 4/255}}}",
    "adversary:",
    "smoke: {methods: [ce], data: {image_size: 8}, search: none}\npreset: smoke",
    "methods: {a: {method: core_tuning, eta: {log_uniform: [0.1, 1], default: 0.5}}, ce: }",
    "datasets: {mine: {path: images, crop: false}}",
    "datasets: [digits]",
    "train: {lr: {choice: [0.1, 0.2]}}",
    "data: {validation: 0.1, augment: {flip: true}}\nfinals:",
    "evaluations: {geometry: , g: {evaluation: geometry, split: labelled, per_class: 4}}",
    "evaluations: [geometry]",
    "evaluations: {}",
    "evaluations:",
    "backbones: {r: {arch: resnet18, checkpoint: x}, resnet50: }",
]
BAD = [
    "objective: {metric: [top1]}",
    "objective: {metric: robust_top1, attack: {steps: 3}}",
    "adversary: pgd",
    "adversary: {attack: fgm}",
    "methods: {ce: {adversary: {epsilon: 1}}}",
    "nme: x",
    "seed: -1",
    "search: tpe",
    "search: {trials: 0}",
    "methods: {core_tuning: {etta: 1}}",
    "methods: {core_tuning: {eta: {uniform: [0]}}}",
    "methods: {mine: {eta: 1}}",
    "methods: {a.b: {method: ce}}",
    "datasets: {nope: {}}",
    "datasets: {digits: {augment: {flop: 1}}}",
    "backbones: {r: {arch: resnet19}}",
    "backbones: {r: {pretrain: {train: {lrr: 1}}}}",
    "train: {version: 2}",
    "evaluations: {g: {split: test}}",
    "evaluations: {geometry: {split: train}}",
    "evaluations: {classification: {per_class: 4}}",
    "evaluations: [geometri]",
    "train: {lr: fast}",
    "data: {validation: 1.5}",
]


def is_valid(text: str) -> bool:
    jsonschema = pytest.importorskip("jsonschema")
    kind = jsonschema.validators.validator_for(SCHEMA)
    kind.check_schema(SCHEMA)
    return bool(kind(SCHEMA).is_valid({**read_yaml(QUICKSTART).value, **(parse_yaml(text).value or {})}))


@pytest.mark.parametrize("text", GOOD)
def test_good_studies_pass(text: str) -> None:
    assert is_valid(text)


@pytest.mark.parametrize("text", BAD)
def test_bad_studies_do_not(text: str) -> None:
    assert not is_valid(text)
