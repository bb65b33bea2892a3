from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from coretune.spec.augment import AugmentSpec, ViewSpec
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Ref
from coretune.spec.run import BackboneSpec, DataSpec, EvalSpec, RunSpec, TrainSpec

PRINT = "ab" * 32
CATALOG = load_catalog()


def run(**changes: Any) -> RunSpec:
    """A run on digits; `method`, `params`, `arch`, and keys of data, train and the run itself may be changed."""
    data = {"image_size": 16, "validation": 200, "test": 600, "labels_per_class": 5}
    data |= {key: changes.pop(key) for key in list(changes) if key in DataSpec.model_fields}
    train = {key: changes.pop(key) for key in list(changes) if key in TrainSpec.model_fields}
    kind = "pretraining" if changes.get("task") == "pretraining" else "method"
    method = CATALOG.ref(kind, changes.pop("method", "ce"), changes.pop("params", {}))
    arch = CATALOG.ref("backbone", changes.pop("arch", "small_resnet"), changes.pop("arch_params", {}))
    return RunSpec(
        data=DataSpec.model_validate({"dataset": CATALOG.ref("dataset", "digits"), "fingerprint": PRINT, **data}),
        backbone=BackboneSpec(arch=arch, weights=changes.pop("weights", "random")),
        method=method,
        train=TrainSpec.model_validate(train),
        seed=changes.pop("seed", 0),
        **changes,
    )


# A golden test. If it fails, every record of every user would be trained again. Either the change was not meant to
# touch identity: then undo what did (a new field needs a default that means "as before"; a renamed field, another
# type or another default does harm). Or the mathematics of a component did change: then raise its `version`, and pin
# the new ids of its rows here, and only of its rows.
GOLDEN: list[tuple[str, dict[str, Any]]] = [
    ("461ee6ea46d862b0", {}),
    ("6c9b64d8bbb1d081", {"seed": 1}),
    ("dc20a73847b0a216", {"lr": 0.03, "epochs": 40, "batch": 50, "contrast_batch": 50}),
    ("7d5d39e558dc18f1", {"optimizer": "adamw", "weight_decay": 0.0, "clip_norm": 1.0, "bn_group": 32}),
    ("32a26995c0a097df", {"labels_per_class": None, "label_fraction": 0.1, "subset_seed": 7}),
    (
        "cbcb3902ca3a59c0",
        {"validation": 0.1, "test": 0.2, "image_size": 32, "augment": AugmentSpec(flip=True, rotation=12)},
    ),
    ("6ee483d00c46c250", {"method": "core_tuning"}),
    ("173add073f365a7e", {"method": "core_tuning", "params": {"eta": 1.0, "temperature": 0.2}}),
    (
        "848645dfe78862af",
        {"method": "core_tuning", "params": {"scope": "all", "classifier_bias": False, "projection_hidden": 64}},
    ),
    ("a0793522d6d70d1f", {"arch": "resnet50", "weights": "sha256:" + "cd" * 32}),
    ("8239b1ceb74c6c3a", {"arch_params": {"widths": [16, 32]}, "weights": "run:0123456789abcdef"}),
    ("19eb7110cb8458fe", {"labels_per_class": None, "limit": 512}),
    (
        "4767e0fb43687db6",
        {"task": "pretraining", "method": "moco_v2", "params": {"queue": 512}, "labels_per_class": None},
    ),
]
GOLDEN_EVALUATIONS: list[tuple[str, EvalSpec]] = [
    ("8f89646de39aea70", EvalSpec(evaluation=CATALOG.ref("evaluation", "classification"))),
    (
        "9658c578c598c3c7",
        EvalSpec(evaluation=CATALOG.ref("evaluation", "classification"), weights="best", limit=100, seed=3),
    ),
]


@pytest.mark.parametrize(("expected", "changes"), GOLDEN)
def test_golden_run_ids(expected: str, changes: dict[str, Any]) -> None:
    assert run(**changes).run_id == expected


@pytest.mark.parametrize(("expected", "spec"), GOLDEN_EVALUATIONS)
def test_golden_evaluation_ids(expected: str, spec: EvalSpec) -> None:
    assert spec.eval_id("0123456789abcdef") == expected


def test_golden_ids_differ() -> None:
    assert len({expected for expected, _ in [*GOLDEN, *GOLDEN_EVALUATIONS]}) == len(GOLDEN) + len(GOLDEN_EVALUATIONS)


def test_spelling_does_not_change_an_id() -> None:
    base = run(method="core_tuning", params={"eta": 1.0, "alpha": 2.0}, lr=1.0)
    assert run(method="core_tuning", params={"alpha": 2, "eta": 1}, lr=1).run_id == base.run_id
    explicit = {"eta": 1, "alpha": 2, "gamma": 1, "temperature": 0.07, "projection_hidden": None}
    assert run(method="core_tuning", params=explicit, lr=1, epochs=100, weight_decay=1e-4).run_id == base.run_id
    assert run(weight_decay=-0.0).run_id == run(weight_decay=0.0).run_id


def test_the_id_of_a_canonical_spec_is_its_own() -> None:
    spec = run(method="core_tuning", params={"eta": 0.3}, augment=AugmentSpec(crop_scale=(0.5, 1.0)))
    again = RunSpec.model_validate(json.loads(spec.to_json()))
    assert again == spec
    assert again.run_id == spec.run_id
    assert "weight_decay" not in spec.to_json()


def test_an_id_follows_a_changed_copy() -> None:
    spec = run()
    assert spec.run_id
    changed = spec.replace(seed=5)
    assert changed.run_id == run(seed=5).run_id != spec.run_id
    assert spec.model_copy(update={"seed": 5}).run_id == changed.run_id


def test_a_further_colour_changes_an_id_and_its_default_does_not() -> None:
    base = run(augment={"contrast": 0.4})
    defaults = {"saturation": 0, "hue": 0.0, "jitter_probability": 1, "grey": 0}
    assert run(augment={"contrast": 0.4, **defaults}).run_id == base.run_id
    for key in defaults:
        assert run(augment={"contrast": 0.4, key: 0.3}).run_id != base.run_id


class LaterTrainSpec(TrainSpec):
    label_smoothing: float = Field(0.0, ge=0)


class LaterRunSpec(RunSpec):
    train: LaterTrainSpec
    adversary: Ref | None = None


@pytest.mark.parametrize("changes", [changes for _, changes in GOLDEN])
def test_a_field_added_later_changes_no_id(changes: dict[str, Any]) -> None:
    spec = run(**changes)
    later = LaterRunSpec.model_validate(spec.canonical())
    assert later.run_id == spec.run_id
    assert later.replace(train=later.train.replace(label_smoothing=0.1)).run_id != spec.run_id


CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "epochs": st.integers(1, 500),
    "batch": st.sampled_from([64, 128, 192]),
    "contrast_batch": st.sampled_from([32, 128, 256]),
    "bn_group": st.integers(2, 64),
    "optimizer": st.just("adamw"),
    "lr": st.floats(1e-6, 10),
    "head_lr": st.floats(0.1, 10),
    "momentum": st.floats(0, 0.99),
    "nesterov": st.just(False),
    "weight_decay": st.floats(0, 1),
    "decay_norm_and_bias": st.just(False),
    "domain_balanced": st.just(True),
    "schedule": st.sampled_from(["cosine_by_epoch", "polynomial", "constant"]),
    "warmup_epochs": st.floats(0, 10),
    "clip_norm": st.floats(0.01, 10),
    "precision": st.sampled_from(["bf16", "fp16"]),
    "evaluate_every": st.integers(2, 10),
    "image_size": st.integers(4, 512),
    "input_size": st.integers(4, 512),
    "test_view": st.builds(ViewSpec, resize=st.integers(16, 512), crop=st.none() | st.integers(4, 16)),
    "validation": st.integers(1, 500) | st.floats(0.01, 0.5),
    "test": st.integers(1, 500) | st.floats(0.01, 0.5),
    "split_seed": st.integers(0, 99),
    "labels_per_class": st.none() | st.integers(1, 99),
    "label_fraction": st.floats(0.01, 1),
    "imbalance": st.floats(1.5, 1000),
    "limit": st.integers(1, 1000),
    "held_out_limit": st.integers(1, 1000),
    "subset_seed": st.integers(0, 99),
    "corrupt": st.just("skip"),
    "held_out_domain": st.sampled_from(["photo", "sketch"]),
    "held_out_part": st.just("domainbed_80"),
    "validation_domain": st.just("photo"),
    "augment": st.builds(
        AugmentSpec,
        flip=st.booleans(),
        rotation=st.floats(0, 90),
        contrast=st.floats(0, 1),
        crop_padding=st.none() | st.integers(0, 8),
        blur=st.floats(0, 1),
    ),
    "fingerprint": st.just("0" * 64),
    "method": st.just("core_tuning"),
    "arch": st.sampled_from(["resnet18", "resnet50"]),
    "weights": st.sampled_from(["run:0123456789abcdef", "sha256:" + "0" * 64]),
    "seed": st.integers(0, 2**63 - 1),
}


@given(st.sampled_from(sorted(CHANGES)), st.data())
def test_any_change_of_one_field_changes_the_id(field: str, data: st.DataObject) -> None:
    base = run()
    changed = run(**{field: data.draw(CHANGES[field])})
    assume(changed != base)
    assert changed.run_id != base.run_id
    assert RunSpec.model_validate(json.loads(changed.to_json())) == changed


def test_every_field_of_recipe_and_data_is_covered_above() -> None:
    assert set(TrainSpec.model_fields) - {"version"} <= set(CHANGES)
    assert set(DataSpec.model_fields) - {"dataset"} <= set(CHANGES)


def test_a_version_is_part_of_the_id() -> None:
    spec = run()
    assert spec.replace(method=spec.method.replace(version=2)).run_id != spec.run_id
    assert spec.replace(train=spec.train.replace(version=2)).run_id != spec.run_id


def test_needs_names_the_pretraining() -> None:
    assert run(weights="run:0123456789abcdef").needs == ("0123456789abcdef",)
    assert run().needs == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 100, "contrast_batch": 64},
        {"warmup_epochs": 11, "epochs": 10},
        {"weights": "run:xyz"},
        {"fingerprint": "abc"},
        {"augment": {"crop_scale": [0.5, 1.5]}},
        {"augment": {"crop_scale": [0.9, 0.5]}},
        *(
            {"augment": {key: value}}
            for key, most in (("saturation", 1), ("hue", 0.5), ("jitter_probability", 1), ("grey", 1))
            for value in (-0.01, most + 0.01, float("nan"), float("-inf"), True, [0.1, 0.2])
        ),
        {"seed": -1},
        {"lr": float("nan")},
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        run(**changes)


def test_an_evaluation_id_depends_on_the_run_and_the_spec() -> None:
    spec = EvalSpec(evaluation=CATALOG.ref("evaluation", "classification"))
    other = spec.replace(split="validation")
    assert len({spec.eval_id("a"), spec.eval_id("b"), other.eval_id("a"), spec.replace(limit=5).eval_id("a")}) == 4
    assert spec.eval_id("a") == EvalSpec.model_validate_json(spec.model_dump_json()).eval_id("a")
