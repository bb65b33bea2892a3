"""CE-tuning."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from coretune.spec.components import NoParameters
from coretune.tuning.method import Step
from coretune.tuning.methods.cross_entropy import CrossEntropy

torch.set_num_threads(1)


def step(features: Tensor, labels: Tensor) -> Step:
    return Step(features, labels, (), None, torch.Generator().manual_seed(0), epoch=0, progress=0.0)


def test_loss_equals_the_formula() -> None:
    torch.manual_seed(0)
    method = CrossEntropy(NoParameters(), features=4, classes=3).double()
    features, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    logits = (features @ method.classifier.weight.T + method.classifier.bias).tolist()
    expected = 0.0
    for row, label in zip(logits, labels.tolist(), strict=True):
        expected -= math.log(math.exp(row[label]) / sum(math.exp(value) for value in row)) / 5
    loss = method.loss(step(features, labels))
    assert loss.total.item() == pytest.approx(expected, abs=1e-12)
    assert loss.terms["cross_entropy"].item() == loss.total.item()
    assert not loss.terms["cross_entropy"].requires_grad
    assert method.views == 1


def test_gradient_reaches_features_and_classifier() -> None:
    method = CrossEntropy(NoParameters(), features=4, classes=3)
    features = torch.randn(5, 4, requires_grad=True)
    method.loss(step(features, torch.tensor([0, 2, 1, 1, 0]))).total.backward()
    assert features.grad is not None and bool((features.grad != 0).any())
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_loss_is_float32_under_autocast() -> None:
    method = CrossEntropy(NoParameters(), features=4, classes=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.loss(step(torch.randn(2, 4), torch.tensor([0, 1])))
    assert loss.total.dtype == torch.float32


def test_wrong_number_of_classes() -> None:
    with pytest.raises(ValueError, match=r"classes: got 0, need an integer >= 1"):
        CrossEntropy(NoParameters(), features=4, classes=0)
