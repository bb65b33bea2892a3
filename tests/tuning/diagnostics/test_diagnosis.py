"""The whole diagnosis: names, parts, spaces, what is left out, and that it changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.training import context, tensors_of, toy_dataset, toy_parts, toy_spec

from coretune.tuning.diagnostics import (
    balanced_pools,
    centre_disagreement,
    class_alignment,
    class_means,
    contrast_split,
    diagnose,
    diagnose_features,
    effective_rank,
    neural_collapse,
    pool_features,
    scatter,
    uniformity,
)
from coretune.tuning.loop import train
from coretune.tuning.precision import autocast

torch.set_num_threads(1)

NAMES = {
    "samples", "classes", "scatter_within", "scatter_between", "scatter_ratio", "margin", "margin_ratio",
    "effective_rank", "nc1", "nc2_equinorm", "nc2_equiangular", "nc2_max_angle", "nc3", "nc4",
    "alignment", "uniformity", "class_uniformity", "tightness", "contrast", "contrastive_loss",
}  # fmt: skip


def test_the_numbers_are_those_of_the_functions() -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(30, 5, generator=generator), torch.arange(30) % 4
    weight = torch.randn(4, 5, generator=generator)
    logits = features @ weight.T
    found = diagnose_features(features, labels, weight=weight, logits=logits, temperature=0.2)
    attached = features.clone().requires_grad_()
    assert diagnose_features(attached, labels, weight=weight, logits=attached @ weight.T, temperature=0.2) == found
    unit = F.normalize(features.double(), dim=1)
    assert found.scatter == scatter(features, labels)
    assert found.collapse == neural_collapse(features, labels, weight=weight, logits=logits)
    assert found.effective_rank == effective_rank(features)
    assert (found.alignment, found.uniformity) == (class_alignment(unit, labels), uniformity(unit))
    assert found.class_uniformity == uniformity(unit, labels)
    assert found.contrast == contrast_split(unit, labels, temperature=0.2)
    named = found.metrics()
    assert named.keys() == NAMES and all(type(value) is float for value in named.values())
    assert (named["samples"], named["classes"], named["nc1"]) == (30.0, 4.0, found.collapse.nc1)
    assert named["contrastive_loss"] == pytest.approx(named["tightness"] + named["contrast"])


def test_what_is_not_defined_is_left_out() -> None:
    one_class = diagnose_features(torch.randn(6, 3), torch.zeros(6, dtype=torch.int64)).metrics()
    left_out = {"scatter_ratio", "margin", "margin_ratio", "class_uniformity", *(n for n in NAMES if n[:2] == "nc")}
    assert one_class.keys() == NAMES - left_out
    one_sample = diagnose_features(torch.randn(1, 3), torch.tensor([2])).metrics()
    assert one_sample == {
        "samples": 1.0, "classes": 1.0, "scatter_within": 0.0, "scatter_between": 0.0, "effective_rank": 0.0
    }  # fmt: skip
    zeros = diagnose_features(torch.zeros(6, 3), torch.arange(6) % 2).metrics()
    assert all(math.isfinite(value) for value in zeros.values())
    assert zeros["effective_rank"] == zeros["scatter_between"] == 0.0 and "nc1" not in zeros


def test_diagnosis_of_both_spaces_on_both_pools() -> None:
    dataset = toy_dataset(labelled=30, validation=24)
    parts = toy_parts(toy_spec("core_tuning"), dataset, dropout=0.3)
    list(train(parts, context()))
    state, noise = tensors_of(parts), torch.get_rng_state()
    arguments = (parts.model, parts.method, dataset.packed, dataset.split.labelled, dataset.split.validation)
    found = diagnose(*arguments, context(), per_class=6, temperature=0.2, seed=4)
    assert all(torch.equal(value, state[name]) for name, value in tensors_of(parts).items())
    assert torch.equal(torch.get_rng_state(), noise)
    expected = {f"{part}.backbone.{name}" for part in ("train", "held_out") for name in NAMES}
    expected |= {f"{part}.projector.{name}" for part in ("train", "held_out") for name in NAMES - {"nc3", "nc4"}}
    assert found.keys() == expected | {"held_out.backbone.nc4_train_means"}
    assert {found[name] for name in found if name.endswith(".samples")} == {18.0}
    again = diagnose(*arguments, context(evaluation_batch=5), per_class=6, temperature=0.2, seed=4)
    assert again == pytest.approx(found, rel=1e-3, abs=1e-4)
    other = diagnose(*arguments, context(), per_class=6, temperature=0.2, seed=5)
    assert other["train.backbone.nc1"] != found["train.backbone.nc1"]
    pools = balanced_pools(dataset.packed.labels, arguments[3:], per_class=6, seed=4)
    known, new = (pool_features(*arguments[:3], pool, context()) for pool in pools)
    weight = parts.model.classifier.weight
    assert found["train.backbone.nc3"] == neural_collapse(known.backbone, known.labels, weight=weight).nc3
    assert found["held_out.projector.margin"] == scatter(new.projector, new.labels).margin
    centres = class_means(known.backbone, known.labels)
    assert found["held_out.backbone.nc4_train_means"] == centre_disagreement(new.backbone, new.logits, centres)


def test_a_method_without_a_projector_and_mixed_precision() -> None:
    dataset = toy_dataset(labelled=30, validation=24)
    parts = toy_parts(toy_spec("ce"), dataset)
    arguments = (parts.model, parts.method, dataset.packed, dataset.split.labelled, dataset.split.validation)
    full = diagnose(*arguments, context())
    assert not any("projector" in name for name in full)
    with autocast(torch.device("cpu"), "bf16"):
        half = diagnose(*arguments, context())
    assert half["train.backbone.scatter_between"] == pytest.approx(full["train.backbone.scatter_between"], rel=0.05)
    assert half["train.backbone.uniformity"] == pytest.approx(full["train.backbone.uniformity"], rel=0.05)


def test_no_common_class_is_refused() -> None:
    dataset = toy_dataset()
    parts = toy_parts(toy_spec("ce"), dataset)
    with pytest.raises(ValueError, match="train, held_out: got no class with two images in both, need at least one"):
        diagnose(parts.model, None, dataset.packed, np.arange(3), np.arange(3, 9), context())
