"""Scatter, margin and effective rank: closed forms, literal loops, invariances, what is not defined, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.tuning.diagnostics import class_means, effective_rank, scatter

torch.set_num_threads(1)


def cloud(n: int, d: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random features and labels; classes are of unequal size, and some may be absent or single."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator) * 3  # numbers need not be consecutive
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return features + 2 * torch.randn(3 * classes, d, generator=generator, dtype=torch.float64)[labels], labels


def rotation(d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q


def literal_scatter(features: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """The formulas with loops over samples and classes."""
    rows, numbers = features.double().numpy(), labels.tolist()
    members = {c: [row for row, label in zip(rows, numbers, strict=True) if label == c] for c in sorted(set(numbers))}
    means = {c: sum(points) / len(points) for c, points in members.items()}
    centre = sum(means.values()) / len(means)
    within = sum(sum(((p - means[c]) ** 2).sum() for p in points) / len(points) for c, points in members.items())
    between = sum(((mean - centre) ** 2).sum() for mean in means.values())
    nearest = [
        min((np.linalg.norm(m - o) for k, o in means.items() if k != c), default=math.nan) for c, m in means.items()
    ]
    return within / len(means), between / len(means), sum(nearest) / len(means)


@pytest.mark.parametrize(("n", "d", "classes"), [(40, 5, 4), (7, 30, 7), (12, 1, 2)])
def test_scatter_is_the_formula(n: int, d: int, classes: int) -> None:
    features, labels = cloud(n, d, classes, seed=n)
    found = scatter(features, labels)
    within, between, margin = literal_scatter(features, labels)
    assert (found.within, found.between, found.margin) == pytest.approx((within, between, margin), rel=1e-12)
    assert found.ratio == pytest.approx(within / between, rel=1e-12)
    assert found.margin_ratio == pytest.approx(math.sqrt(within) / margin, rel=1e-12)


def test_two_orthogonal_classes() -> None:
    features = torch.eye(2).repeat_interleave(3, dim=0)
    found = scatter(features, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert (found.within, found.between, found.ratio, found.margin_ratio) == (0.0, 0.5, 0.0, 0.0)
    assert found.margin == pytest.approx(math.sqrt(2))


def test_a_known_covariance() -> None:
    """Each class is its mean ± a_k along every axis: Σ_W = diag(a²)/d, whatever the class sizes are."""
    axes = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    shape = torch.cat([axes, -axes])
    means = torch.tensor([[10.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    features = torch.cat([means[0] + shape, means[1] + shape, means[1] + shape])
    labels = torch.tensor([0] * 6 + [1] * 12)
    found = scatter(features, labels)
    assert found.within == pytest.approx((1 + 4 + 9) / 3)
    assert found.between == pytest.approx(25.0)
    assert found.margin == pytest.approx(10.0)
    centred = class_means(features, labels).deviations(features)
    assert torch.allclose(centred.T @ centred / 18, torch.diag(torch.tensor([1.0, 4.0, 9.0]).double() / 3))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), n=st.integers(2, 40), d=st.integers(1, 8), scale=st.floats(1e-3, 1e3))
def test_scatter_under_rotation_shift_scaling_and_order(seed: int, n: int, d: int, scale: float) -> None:
    features, labels = cloud(n, d, 4, seed)
    found = scatter(features, labels)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = scatter((scale * features @ rotation(d, seed) + 5 * scale)[order], labels[order])
    assert moved.within == pytest.approx(scale**2 * found.within, rel=1e-9, abs=1e-12 * scale**2)
    assert moved.between == pytest.approx(scale**2 * found.between, rel=1e-9, abs=1e-12 * scale**2)
    assert moved.margin == pytest.approx(scale * found.margin, rel=1e-9, nan_ok=True)
    assert moved.ratio == pytest.approx(found.ratio, rel=1e-9, nan_ok=True)
    twice = scatter(features.repeat(2, 1), labels.repeat(2))
    assert (twice.within, twice.between) == pytest.approx((found.within, found.between), rel=1e-12)
    total = class_means(features, labels)
    spread = total.mean_over_classes((features - total.centre).square().sum(dim=1))
    assert found.within + found.between == pytest.approx(float(spread), rel=1e-12)


def test_scatter_where_it_is_not_defined() -> None:
    one_class = scatter(torch.randn(5, 3), torch.zeros(5, dtype=torch.int64))
    assert one_class.within > 0 and one_class.between == 0
    assert math.isnan(one_class.margin) and math.isnan(one_class.ratio) and math.isnan(one_class.margin_ratio)
    one_sample = scatter(torch.randn(1, 3), torch.tensor([7]))
    assert (one_sample.within, one_sample.between) == (0.0, 0.0) and math.isnan(one_sample.margin)
    dead = scatter(torch.full((6, 3), 0.1, dtype=torch.float64), torch.arange(6) % 3)
    assert dead.between == dead.margin == 0.0 and math.isnan(dead.ratio) and math.isnan(dead.margin_ratio)


def test_half_precision_is_accumulated_in_double() -> None:
    features = (1000 + torch.arange(4000).remainder(4)[:, None]).half()
    assert scatter(features, torch.zeros(4000, dtype=torch.int32)).within == 1.25


@pytest.mark.parametrize(("lengths", "rank"), [([1, 1, 1], 3.0), ([5], 1.0), ([2, 1, 1], 2**1.5), ([3, 0], 1.0)])
def test_effective_rank_of_known_singular_values(lengths: list[float], rank: float) -> None:
    k = len(lengths)
    matrix = rotation(6, 0)[:, :k] @ torch.diag(torch.tensor(lengths, dtype=torch.float64)) @ rotation(k, 1)
    assert effective_rank(matrix, centred=False) == pytest.approx(rank, rel=1e-12)


def test_effective_rank_is_the_formula() -> None:
    matrix, _ = cloud(30, 7, 3, seed=1)
    for centred in (True, False):
        values = np.linalg.svd(matrix.numpy() - centred * matrix.numpy().mean(axis=0), compute_uv=False)
        shares = values / values.sum()
        expected = math.exp(-sum(p * math.log(p) for p in shares))
        assert effective_rank(matrix, centred=centred) == pytest.approx(expected, rel=1e-12)


def test_a_common_mean_hides_the_rank_unless_it_is_taken_off() -> None:
    matrix = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) + 1000
    assert effective_rank(matrix) > 7.9
    assert effective_rank(matrix, centred=False) < 1.1


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), n=st.integers(2, 20), d=st.integers(1, 8), scale=st.floats(1e-6, 1e6))
def test_effective_rank_under_rotation_scaling_and_order(seed: int, n: int, d: int, scale: float) -> None:
    matrix = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rank = effective_rank(matrix)
    assert 1 - 1e-12 <= rank <= min(n - 1, d) + 1e-9
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert effective_rank(scale * matrix[order] @ rotation(d, seed) + scale) == pytest.approx(rank, rel=1e-6)


def test_effective_rank_of_nothing() -> None:
    assert effective_rank(torch.zeros(4, 3)) == 0.0
    assert effective_rank(torch.full((5, 3), 0.1, dtype=torch.float64)) == 0.0
    assert effective_rank(torch.randn(1, 3)) == 0.0
    assert effective_rank(torch.ones(1, 3), centred=False) == 1.0


def test_wrong_arguments() -> None:
    good, labels = torch.ones(4, 3), torch.tensor([0, 0, 1, 1])
    for features, classes, said in (
        (good[0], labels, r"features: got shape \(3,\), need a floating tensor \(n, d\)"),
        (good.long(), labels, r"features: got torch.int64"),
        (good, labels[:3], r"labels: got shape \(3,\), need an integer tensor \(4,\)"),
        (good, labels.float(), r"labels: got torch.float32"),
        (good.index_fill(0, torch.tensor([2]), torch.nan), labels, r"features: got nan at \[2, 0\]"),
    ):
        with pytest.raises(ValueError, match=said):
            scatter(features, classes)
    with pytest.raises(ValueError, match="matrix: got shape"):
        effective_rank(good[0])
    with pytest.raises(ValueError, match="matrix: got inf"):
        effective_rank(torch.ones(2, 2) / 0)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    features, labels = cloud(200, 16, 5, seed=0)
    expected, found = scatter(features, labels), scatter(features.cuda(), labels.cuda())
    assert (found.within, found.ratio, found.margin) == pytest.approx(
        (expected.within, expected.ratio, expected.margin), rel=1e-10
    )
    assert effective_rank(features.cuda()) == pytest.approx(effective_rank(features), rel=1e-10)
