"""Calibration by loops, its invariances, and the rotation: the best one, and the identity where nothing is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.calibration import CLASSES, WIDTH, gaussian, literal_calibration, random_rotation
from torch import Tensor

from coretune.tuning.calibration import calibrate, rotation_between

torch.set_num_threads(1)


@given(st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=40)
def test_calibration_by_loops(rows: int, seed: int) -> None:
    pretrained, tuned = gaussian(rows, WIDTH, seed=seed), gaussian(rows, WIDTH, seed=seed + 1)
    prototypes, rotation = gaussian(CLASSES, WIDTH, seed=seed + 2), random_rotation(seed)
    labels = torch.randint(CLASSES, (rows,), generator=torch.Generator().manual_seed(seed))
    found = calibrate(pretrained, tuned, labels, rotation, prototypes)
    table = list(zip(pretrained.tolist(), tuned.tolist(), labels.tolist(), strict=True))
    expected = torch.tensor(literal_calibration(table, rotation.tolist(), prototypes.tolist()), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@given(st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=40)
def test_calibration_knows_no_order_and_no_length(rows: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    pretrained, tuned = gaussian(rows, WIDTH, seed=seed), gaussian(rows, WIDTH, seed=seed + 1)
    labels, order = torch.randint(CLASSES, (rows,), generator=draws), torch.randperm(rows, generator=draws)
    lengths = 0.1 + torch.rand(2, rows, 1, dtype=torch.float64, generator=draws)
    rest = (random_rotation(seed), gaussian(CLASSES, WIDTH, seed=seed))
    found = calibrate(pretrained, tuned, labels, *rest)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(rows, dtype=torch.float64))
    other = calibrate((lengths[0] * pretrained)[order], (lengths[1] * tuned)[order], labels[order], *rest)
    torch.testing.assert_close(other, found[order], rtol=0, atol=1e-10)


def test_calibration_undoes_a_rotation() -> None:
    """With a classifier that is sure of nothing, all rows of a class count alike."""
    rotation, pretrained = random_rotation(3), gaussian(9, WIDTH)
    tuned = pretrained @ rotation
    labels = torch.arange(9) % CLASSES
    found = calibrate(pretrained, tuned, labels, rotation, torch.zeros(CLASSES, WIDTH, dtype=torch.float64))
    torch.testing.assert_close(found, tuned / tuned.norm(dim=1, keepdim=True))


@given(st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=40)
def test_the_rotation_is_one_and_none_is_better(rows: int, seed: int) -> None:
    source, target = gaussian(rows, WIDTH, seed=seed), gaussian(rows, WIDTH, seed=seed + 1)
    weights = (gaussian(rows, seed=seed + 2) > -0.5).double()
    found = rotation_between(source, target, weights)
    torch.testing.assert_close(found @ found.T, torch.eye(WIDTH, dtype=torch.float64), rtol=0, atol=1e-10)
    assert torch.det(found).item() == pytest.approx(1.0, abs=1e-10)

    def distance(rotation: Tensor) -> float:
        share = (weights / weights.sum().clamp_min(1))[:, None]
        moved = (source - (share * source).sum(0)) @ rotation - (target - (share * target).sum(0))
        return float((weights[:, None] * moved.square()).sum())

    for number in range(20):
        near = found @ torch.linalg.matrix_exp(0.1 * (lambda a: a - a.T)(gaussian(WIDTH, WIDTH, seed=number)))
        assert distance(found) <= distance(near) + 1e-9
        assert distance(found) <= distance(random_rotation(number)) + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rotation_is_found_and_left_alone_where_nothing_is_known(dtype: torch.dtype) -> None:
    """Rows that fill three of six dimensions, turned within these: the other three stay."""
    source, rotation = torch.zeros(20, 6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
    source[:, :3], rotation[:3, :3] = gaussian(20, 3), random_rotation(1, 3)
    found = rotation_between(source.to(dtype), (source @ rotation + 0.7).to(dtype), torch.ones(20, dtype=dtype))
    torch.testing.assert_close(found, rotation.to(dtype), rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-10)


def test_without_rows_or_with_a_nan_there_is_still_a_rotation() -> None:
    source, target, identity = gaussian(5, WIDTH), gaussian(5, WIDTH, seed=1), torch.eye(WIDTH, dtype=torch.float64)
    torch.testing.assert_close(rotation_between(source, target, torch.zeros(5, dtype=torch.float64)), identity)
    one = torch.zeros(5, dtype=torch.float64).index_fill(0, torch.tensor(2), 1.0)
    torch.testing.assert_close(rotation_between(source, target, one), identity)
    target[0, 0] = math.nan
    assert rotation_between(source, target, torch.ones(5, dtype=torch.float64)).isfinite().all()
