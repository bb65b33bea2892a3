"""The fitted classifier is the optimum, whatever the scale of the features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.tuning.linear_fit import fit_linear

torch.set_num_threads(1)


def sample(n: int, d: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=draws)
    return torch.randn(n, d, generator=draws, dtype=torch.float64) + labels[:, None] * 0.5, labels


@settings(max_examples=25)
@given(n=st.integers(1, 30), d=st.integers(1, 6), classes=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_nothing_is_left_to_gain(n: int, d: int, classes: int, seed: int) -> None:
    features, labels = sample(n, d, classes, seed)
    fitted = fit_linear(features, labels, classes, penalty=0.01)
    std = features.std(dim=0, correction=0)
    assert n == 1 or bool((std > 0).all())
    weight = (fitted.weight * std).requires_grad_()
    bias = (fitted.bias + fitted.weight @ features.mean(dim=0)).requires_grad_()
    standard = (features - features.mean(dim=0)) / std if n > 1 else features * 0
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        total = total - torch.log_softmax(weight @ standard[i] + bias, dim=0)[labels[i]] / n
    total = total + 0.01 / 2 * sum(w**2 for w in weight.flatten())
    gradients = torch.autograd.grad(total, [weight, bias])
    # A class without a sample has no finite optimum of its bias: what is left to gain there is small.
    assert all(float(gradient.abs().max()) < 1e-4 for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_and_shift_of_the_features_do_not_matter(dtype: torch.dtype) -> None:
    features, labels = sample(40, 5, 3, 0)
    moved = features * torch.tensor([1e-3, 1.0, 10.0, 1e4, 3.0]) + torch.tensor([0.0, 5.0, -1.0, 1e4, 0.0])
    one = fit_linear(features.to(dtype), labels, 3)(features)
    other = fit_linear(moved.to(dtype), labels, 3)(moved)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_features_that_do_not_vary_are_left_out() -> None:
    features, labels = sample(30, 4, 3, 1)
    features[:, 2] = 1 / 3
    fitted = fit_linear(features, labels, 3)
    assert bool((fitted.weight[:, 2] == 0).all())
    rest = fit_linear(features[:, [0, 1, 3]], labels, 3)
    torch.testing.assert_close(fitted.weight[:, [0, 1, 3]], rest.weight, rtol=1e-6, atol=1e-8)


def test_separable_classes_are_separated_with_finite_weights() -> None:
    features = torch.eye(6).repeat(4, 1)
    labels = torch.arange(24) % 6
    fitted = fit_linear(features, labels, 6)
    assert torch.equal(fitted(features.double()).argmax(dim=1), labels)
    assert bool(fitted.weight.isfinite().all()) and not fitted.weight.requires_grad


def test_it_is_the_same_each_time_and_draws_nothing() -> None:
    features, labels = sample(40, 5, 3, 0)
    torch.manual_seed(1)
    one, state = fit_linear(features, labels, 3), torch.get_rng_state()
    torch.manual_seed(2)
    other = fit_linear(features, labels, 3)
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())
