"""Pools: balanced, paired, fixed by the seed; features as the model gives them, and the model left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import CLASSES, TinyNet, context, toy_dataset, toy_parts, toy_spec

from coretune.data.augment import to_float
from coretune.nets.model import Model
from coretune.tuning.diagnostics import balanced_pools, pool_features, projector_of
from coretune.tuning.sampling import gather_images

torch.set_num_threads(1)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**20), n=st.integers(2, 60), classes=st.integers(1, 8), per_class=st.integers(2, 9))
def test_pools_are_balanced_and_of_the_same_classes(seed: int, n: int, classes: int, per_class: int) -> None:
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, classes, n)
    parts = np.split(draws.permutation(n), [n // 2])
    one, other = balanced_pools(labels, parts, per_class=per_class, seed=seed)
    counts = [np.bincount(labels[part], minlength=classes) for part in parts]
    wanted = [c for c in range(classes) if min(counts[0][c], counts[1][c]) >= 2]
    size = min([per_class, *(min(counts[0][c], counts[1][c]) for c in wanted)])
    for pool, part in ((one, parts[0]), (other, parts[1])):
        assert set(pool) <= set(part) and np.all(np.diff(pool) > 0)
        assert np.bincount(labels[pool], minlength=classes).tolist() == [size * (c in wanted) for c in range(classes)]
    shuffled = balanced_pools(labels, [draws.permutation(part) for part in parts], per_class=per_class, seed=seed)
    assert np.array_equal(shuffled[0], one) and np.array_equal(shuffled[1], other)


def test_pools_follow_the_seed_and_nest() -> None:
    labels = np.arange(90) % 3
    part = np.arange(90)
    small, same, larger = (
        balanced_pools(labels, [part], per_class=size, seed=seed)[0] for size, seed in ((5, 0), (5, 1), (9, 0))
    )
    assert set(small) < set(larger)
    assert set(small) != set(same)
    assert set(small) != set(range(15))  # not the first ones


def test_single_images_make_no_pool() -> None:
    (pool,) = balanced_pools(np.arange(5), [np.arange(5)], per_class=4, seed=0)
    assert len(pool) == 0
    one, other = balanced_pools(np.array([0, 0, 1, 1]), [np.array([0, 1]), np.array([2, 3])], per_class=4, seed=0)
    assert len(one) == len(other) == 0


@pytest.mark.parametrize("batch", [3, 256])
def test_features_are_those_of_the_model_in_evaluation_mode(batch: int) -> None:
    dataset = toy_dataset()
    parts = toy_parts(toy_spec("core_tuning"), dataset, dropout=0.5)
    parts.model.train()
    parts.method.train()
    parts.model.encoder.norm.eval()
    modes = [module.training for module in (*parts.model.modules(), *parts.method.modules())]
    before = {name: value.clone() for name, value in parts.model.state_dict().items()}
    indices = np.array([3, 7, 1, 8, 30])
    found = pool_features(parts.model, parts.method, dataset.packed, indices, context(evaluation_batch=batch))
    assert [module.training for module in (*parts.model.modules(), *parts.method.modules())] == modes
    assert all(torch.equal(value, before[name]) for name, value in parts.model.state_dict().items())
    assert torch.is_grad_enabled() and not found.backbone.requires_grad
    parts.model.eval()
    parts.method.eval()
    images = to_float(gather_images(dataset.packed, indices, torch.device("cpu")))
    features = parts.model.features(images)
    assert torch.allclose(found.backbone, features, atol=1e-6)
    assert torch.allclose(found.logits, parts.model(images), atol=1e-6)
    assert torch.allclose(found.projector, parts.method.projector(features), atol=1e-6)
    assert found.labels.tolist() == dataset.packed.labels[indices].tolist()


def test_the_projector_is_optional() -> None:
    dataset = toy_dataset()
    tuned, plain = toy_parts(toy_spec("core_tuning"), dataset), toy_parts(toy_spec("ce"), dataset)
    assert projector_of(tuned.method) is tuned.method.projector and projector_of(plain.method) is None
    indices = np.arange(6)
    assert pool_features(plain.model, plain.method, dataset.packed, indices, context()).projector is None
    assert pool_features(tuned.model, None, dataset.packed, indices, context()).projector is None
    direct = pool_features(tuned.model, tuned.method.projector, dataset.packed, indices, context())
    assert torch.equal(
        direct.projector, pool_features(tuned.model, tuned.method, dataset.packed, indices, context()).projector
    )
    unlabelled = pool_features(Model(TinyNet()), None, dataset.packed, indices, context())
    assert unlabelled.logits is None and unlabelled.backbone.shape == (6, 6)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="per_class: got 1, need an integer >= 2"):
        balanced_pools(np.arange(3), [np.arange(3)], per_class=1, seed=0)
    with pytest.raises(ValueError, match="parts: got none"):
        balanced_pools(np.arange(3), [], per_class=2, seed=0)
    model = Model(TinyNet(), torch.nn.Linear(6, CLASSES))
    with pytest.raises(ValueError, match="indices: got none, need at least one image"):
        pool_features(model, None, toy_dataset().packed, np.empty(0, np.int64), context())
