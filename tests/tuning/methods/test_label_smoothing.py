"""Label smoothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.spec.catalog.methods.baselines import LabelSmoothingParameters
from coretune.spec.components import NoParameters
from coretune.tuning.method import Step
from coretune.tuning.methods.cross_entropy import CrossEntropy
from coretune.tuning.methods.label_smoothing import LabelSmoothing

torch.set_num_threads(1)


def step(features: Tensor, labels: Tensor) -> Step:
    return Step(features, labels, (), None, torch.Generator().manual_seed(0), epoch=0, progress=0.0)


def make(smoothing: float = 0.1, seed: int = 0) -> LabelSmoothing:
    torch.manual_seed(seed)
    return LabelSmoothing(LabelSmoothingParameters(smoothing=smoothing), features=4, classes=3)


def sample(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=draws, dtype=dtype), torch.randint(3, (n,), generator=draws)


@given(st.integers(1, 8), st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.5, 0.99]))
@settings(max_examples=40)
def test_loss_equals_the_formula(n: int, seed: int, smoothing: float) -> None:
    method = make(smoothing, seed).double()
    features, labels = sample(n, seed)
    logits = (features @ method.classifier.weight.T + method.classifier.bias).tolist()
    expected = 0.0
    for row, label in zip(logits, labels.tolist(), strict=True):
        mass = sum(math.exp(value) for value in row)
        for c, value in enumerate(row):
            q = (1 - smoothing) * (c == label) + smoothing / 3
            expected -= q * math.log(math.exp(value) / mass) / n
    loss = method.loss(step(features, labels))
    assert loss.total.item() == pytest.approx(expected, abs=1e-11)
    assert loss.terms["cross_entropy"].item() == loss.total.item()
    entropy = -sum(q * math.log(q) for q in [1 - smoothing * 2 / 3, smoothing / 3, smoothing / 3] if q)
    assert loss.total.item() >= entropy - 1e-12


def test_without_smoothing_it_is_ce_tuning() -> None:
    method = make(0.0).double()
    torch.manual_seed(0)
    plain = CrossEntropy(NoParameters(), features=4, classes=3).double()
    features, labels = sample(6)
    assert method.loss(step(features, labels)).total.item() == plain.loss(step(features, labels)).total.item()


def test_gradient() -> None:
    method = make(0.2).double()
    features, labels = sample(5)
    assert torch.autograd.gradcheck(lambda x: method.loss(step(x, labels)).total, (features.requires_grad_(),))


def test_loss_is_float32_under_autocast() -> None:
    features, labels = sample(4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = make().loss(step(features, labels))
    assert loss.total.dtype == torch.float32 and not loss.terms["cross_entropy"].requires_grad


@pytest.mark.parametrize("bad", [-0.1, 1.0, True])
def test_smoothing_leaves_something_of_the_label(bad: Any) -> None:
    with pytest.raises(ValueError, match="smoothing"):
        LabelSmoothingParameters(smoothing=bad)
