"""Batch spectral shrinkage: the penalty equals the paper's, with finite gradients for any batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.spec.catalog.methods.regularisers import BSSParameters
from coretune.spec.components import NoParameters
from coretune.tuning.method import Step
from coretune.tuning.methods.bss import BatchSpectralShrinkage, spectral_shrinkage
from coretune.tuning.methods.cross_entropy import CrossEntropy

torch.set_num_threads(1)


def sample(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make(**options: Any) -> BatchSpectralShrinkage:
    torch.manual_seed(0)
    return BatchSpectralShrinkage(BSSParameters(**options), features=6, classes=3)


def step(features: Tensor) -> Step:
    labels = torch.arange(len(features)) % 3
    return Step(features, labels, (), None, torch.Generator().manual_seed(0), epoch=0, progress=0.0)


def literal(features: Tensor, k: int) -> float:
    """From the eigenvalues of the smaller Gram matrix: as many as there are singular values."""
    values = features.detach().double().numpy()
    gram = values @ values.T if len(values) <= values.shape[1] else values.T @ values
    squares = sorted(np.linalg.eigvalsh(gram).tolist())
    total = 0.0
    for i in range(min(k, len(squares))):
        total += squares[i]
    return total


@settings(max_examples=50)
@given(n=st.integers(1, 9), d=st.integers(1, 9), k=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_equals_the_formula(n: int, d: int, k: int, seed: int) -> None:
    features = sample(n, d, seed)
    found = spectral_shrinkage(features, k).item()
    assert found == pytest.approx(literal(features, k), rel=1e-10, abs=1e-10)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert spectral_shrinkage(features[order], k).item() == pytest.approx(found, rel=1e-10, abs=1e-10)
    assert spectral_shrinkage(3 * features, k).item() == pytest.approx(9 * found, rel=1e-10, abs=1e-10)
    if k >= min(n, d):
        assert found == pytest.approx(features.square().sum().item(), rel=1e-10)


@pytest.mark.parametrize(("n", "d", "k"), [(5, 3, 1), (3, 5, 2), (1, 4, 1), (4, 4, 7)])
def test_gradient(n: int, d: int, k: int) -> None:
    assert torch.autograd.gradcheck(lambda x: spectral_shrinkage(x, k), (sample(n, d).requires_grad_(),))


@pytest.mark.parametrize(
    "features",
    [
        torch.zeros(4, 3),
        torch.ones(4, 3),
        torch.eye(4),
        sample(1, 3, dtype=torch.float32),
        sample(2, 6, dtype=torch.float32).repeat(3, 1),
        1e-20 * sample(5, 3, dtype=torch.float32),
        1e15 * sample(5, 3, dtype=torch.float32),
    ],
    ids=["zero", "one direction", "equal values", "one sample", "duplicates", "tiny", "huge"],
)
@pytest.mark.parametrize("k", [1, 3])
def test_gradients_of_odd_batches_are_finite(features: Tensor, k: int) -> None:
    features = features.clone().requires_grad_()
    loss = spectral_shrinkage(features, k)
    loss.backward()
    assert loss.isfinite() and features.grad is not None and bool(features.grad.isfinite().all())


def test_duplicates_need_no_shrinking() -> None:
    features = sample(3, 6).repeat(2, 1).requires_grad_()
    loss = spectral_shrinkage(features, 3)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-20)
    torch.testing.assert_close(features.grad, torch.zeros_like(features), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_reaches_the_loss(bad: float) -> None:
    features = sample(4, 6, dtype=torch.float32)
    features[2, 1] = bad
    assert make().loss(step(features)).total.isnan()


@pytest.mark.parametrize("k", [1, 2])
def test_loss_is_cross_entropy_and_the_penalty(k: int) -> None:
    method = make(eta=0.5, k=k).double()
    plain = CrossEntropy(NoParameters(), features=6, classes=3).double()
    plain.load_state_dict(method.state_dict())
    features = sample(5, 6)
    loss = method.loss(step(features))
    cross_entropy = plain.loss(step(features)).total.item()
    assert loss.terms["shrinkage"].item() == pytest.approx(literal(features, k), rel=1e-10)
    assert loss.terms["cross_entropy"].item() == pytest.approx(cross_entropy, rel=1e-12)
    assert loss.total.item() == pytest.approx(cross_entropy + 0.5 * literal(features, k), rel=1e-10)


def test_half_precision_is_decomposed_in_single() -> None:
    features = sample(5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = spectral_shrinkage(features.bfloat16(), 2)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(literal(features.bfloat16(), 2), rel=1e-5)


def test_shrinking_takes_the_weakest_direction() -> None:
    features = sample(8, 4).requires_grad_()
    before = torch.linalg.svdvals(features.detach())
    spectral_shrinkage(features).backward()
    assert features.grad is not None
    after = torch.linalg.svdvals(features.detach() - 0.25 * features.grad)
    torch.testing.assert_close(after[:-1], before[:-1])
    torch.testing.assert_close(after[-1], 0.5 * before[-1])


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        (torch.zeros(3), 1, r"features: got shape \(3,\), need a floating tensor \(n, d\)"),
        (torch.zeros(2, 3, dtype=torch.int64), 1, "features: got torch.int64"),
        (torch.zeros(2, 3), 0, "k: got 0, need an integer >= 1"),
        (torch.zeros(2, 3), 1.5, "k: got 1.5, need an integer >= 1"),
    ],
)
def test_wrong_arguments(features: Tensor, k: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spectral_shrinkage(features, k)
