from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coretune.spec.cells import Cell
from coretune.spec.load import resolve_study
from coretune.spec.yamlfile import parse_yaml

PRINT = "0" * 64
TEXT = """
name: x
datasets: {digits: {labels_per_class: 5, validation: 200, test: 600}, all: {dataset: digits}}
backbones:
  pre: {arch: small_resnet, pretrain: {train: {epochs: 3}, augment: {rotation: 30}}}
  plain: {arch: small_resnet}
methods:
  ce: {train: {lr: 0.5}}
  core_tuning: {gamma: 0.5}
train: {lr: {log_uniform: [1e-3, 1]}, epochs: 7}
"""
LOADED = resolve_study(parse_yaml(TEXT))
CELLS = {cell.key: cell for cell in LOADED.cells}
CORE = CELLS["digits--core_tuning--pre"]


def spec_of(cell: Cell, params: dict[str, Any], **changes: Any) -> Any:
    said = {"fingerprint": PRINT, "weights": "random", "seed": 3, "subset_seed": 9, **changes}
    return cell.spec(LOADED.catalog, params, **said)


def test_cells_are_the_product_in_the_order_of_the_file() -> None:
    assert list(CELLS)[:3] == ["digits--ce--pre", "digits--core_tuning--pre", "digits--ce--plain"]
    assert len(CELLS) == 8


def test_trial_0_has_the_defaults() -> None:
    spec = spec_of(CORE, {})
    assert spec.method.params == {"gamma": 0.5}
    assert spec.train.epochs == 7
    assert spec.train.lr == 0.01
    assert CORE.method.defaults == {
        "method.eta": 0.1,
        "method.temperature": 0.07,
        "method.alpha": 1.0,
        "train.lr": 0.01,
    }


def test_a_methods_own_recipe_replaces_a_common_space() -> None:
    ce = CELLS["digits--ce--plain"]
    assert ce.method.space == {}
    assert spec_of(ce, {}).train.lr == 0.5


@given(st.floats(1e-3, 3), st.floats(1e-3, 1))
def test_params_go_where_their_path_says(eta: float, lr: float) -> None:
    spec = spec_of(CORE, {"method.eta": eta, "train.lr": lr})
    assert LOADED.catalog.parameters("method", spec.method).model_dump()["eta"] == eta
    assert spec.train.lr == lr
    assert spec.data.subset_seed == 9


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(ValidationError):
        spec_of(CORE, {"method.eta": -1.0})


def test_the_subset_seed_has_no_effect_where_all_images_are_labelled() -> None:
    cell = CELLS["all--ce--plain"]
    assert spec_of(cell, {}, subset_seed=1).run_id == spec_of(cell, {}, subset_seed=2).run_id
    digits = CELLS["digits--ce--plain"]
    assert spec_of(digits, {}, subset_seed=1).run_id != spec_of(digits, {}, subset_seed=2).run_id


def test_pretraining_sees_all_training_images_and_its_own_augmentation() -> None:
    pretraining = CORE.backbone.pretraining(CORE.dataset, PRINT)
    assert pretraining is not None
    assert pretraining.task == "pretraining"
    assert pretraining.data.labels_per_class is None
    assert pretraining.data.augment.rotation == 30
    assert pretraining.data.augment.crop_scale == CORE.dataset.augment.crop_scale
    assert pretraining.train.epochs == 3
    assert pretraining.train.lr == 0.06
    assert CELLS["all--ce--pre"].backbone.pretraining(CORE.dataset, PRINT) == pretraining
    assert CELLS["all--ce--plain"].backbone.pretraining(CORE.dataset, PRINT) is None
