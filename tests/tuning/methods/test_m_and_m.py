"""M&M tuning: the triplet loss by loops, its stages, batches without triplets."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import context, toy_parts, toy_spec
from torch import Tensor

from coretune.spec.catalog.methods.contrast import MixAndMatchParameters
from coretune.tuning.loop import train
from coretune.tuning.method import Step
from coretune.tuning.methods.m_and_m import MixAndMatch, triplet_loss

torch.set_num_threads(1)


def make(**options: Any) -> MixAndMatch:
    torch.manual_seed(0)
    return MixAndMatch(MixAndMatchParameters(**options), features=5, classes=3).double()


def step(features: Tensor, labels: Tensor, progress: float = 0.0) -> Step:
    return Step(features, labels, (), None, torch.Generator(), epoch=0, progress=progress)


def sample(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 5, generator=draws, dtype=torch.float64), torch.randint(3, (n,), generator=draws)


def literal(features: Tensor, labels: Tensor, margin: float) -> float:
    """The mean over anchors of the mean hinge over their triplets, with loops."""
    z, n = features / features.norm(dim=1, keepdim=True), len(labels)
    means = []
    for a in range(n):
        hinges = [
            max(0.0, margin + float((z[a] - z[p]).square().sum() - (z[a] - z[k]).square().sum()))
            for p in range(n)
            for k in range(n)
            if p != a and labels[p] == labels[a] and labels[k] != labels[a]
        ]
        if hinges:
            means.append(sum(hinges) / len(hinges))
    return sum(means) / len(means) if means else 0.0


@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([0.1, 0.7, 2.1, 4.0]))
@settings(max_examples=60)
def test_the_first_stage_is_the_triplet_loss(n: int, seed: int, margin: float) -> None:
    features, labels = sample(n, seed)
    loss = make(margin=margin).loss(step(features, labels))
    assert loss.total.item() == pytest.approx(literal(features, labels, margin), abs=1e-10)
    assert loss.terms["triplet"].item() == loss.total.item()


def test_the_second_stage_is_cross_entropy() -> None:
    method = make(first_stage=0.3)
    features, labels = sample(8)
    loss = method.loss(step(features, labels, progress=0.3))
    expected = F.cross_entropy(method.classifier(features), labels)
    assert loss.total.item() == loss.terms["cross_entropy"].item() == pytest.approx(expected.item(), abs=1e-12)
    before = method.loss(step(features, labels, progress=0.299))
    assert before.total.item() == before.terms["triplet"].item() == loss.terms["triplet"].item()


@pytest.mark.parametrize("margin", [0.3, 2.1])
def test_gradient(margin: float) -> None:
    features, labels = sample(8, 3)
    method = make(margin=margin)
    assert torch.autograd.gradcheck(lambda x: method.loss(step(x, labels)).total, (features.requires_grad_(),))


def test_gradients_stay_with_their_stage() -> None:
    for progress, trained in ((0.0, False), (0.9, True)):
        method = make()
        features, labels = sample(8)
        method.loss(step(features.requires_grad_(), labels, progress)).total.backward()
        assert features.grad is not None and bool(features.grad.any())
        assert all((parameter.grad is not None) == trained for parameter in method.classifier.parameters())


@given(st.integers(2, 9), st.integers(0, 10**6), st.floats(0.1, 10))
@settings(max_examples=25)
def test_neither_order_nor_scale_matters(n: int, seed: int, scale: float) -> None:
    features, labels = sample(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    one = make(margin=0.8).loss(step(features, labels)).total.item()
    other = make(margin=0.8).loss(step(scale * features[order], labels[order])).total.item()
    assert one == pytest.approx(other, abs=1e-12)


def test_triplets_beyond_the_margin_count_for_nothing() -> None:
    z = torch.eye(2, dtype=torch.float64)[[0, 0, 1, 1]].requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    assert triplet_loss(z, labels, 1.9).item() == 0
    loss = triplet_loss(z, labels, 2.5)
    assert loss.item() == pytest.approx(0.5)
    assert triplet_loss(z, torch.tensor([0, 1, 0, 1]), 1.0).item() == pytest.approx((1 + 3) / 2)


@pytest.mark.parametrize("labels", [[0], [1, 1, 1], [0, 1, 2]], ids=str)
def test_without_a_triplet_the_loss_is_zero_and_attached(labels: list[int]) -> None:
    features = torch.randn(len(labels), 5, requires_grad=True)
    loss = make().float().loss(step(features, torch.tensor(labels)))
    loss.total.backward()
    assert loss.total.item() == 0 and features.grad is not None and not features.grad.any()


def test_a_nan_reaches_the_loss() -> None:
    features, labels = sample(8)
    features[0, 0] = math.nan
    assert make().loss(step(features, labels)).total.isnan()


def test_losses_are_float32_under_autocast() -> None:
    features, labels = sample(8)
    full = make().float().loss(step(features.bfloat16().float(), labels)).terms
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = make().float().loss(step(features.bfloat16(), labels)).terms
    assert cast["triplet"].dtype == cast["cross_entropy"].dtype == torch.float32
    assert cast["triplet"].item() == pytest.approx(full["triplet"].item(), abs=1e-6)


def test_in_a_training_the_classifier_moves_from_the_second_stage_on() -> None:
    parts = toy_parts(toy_spec("m_and_m", params={"first_stage": 0.5}, epochs=4))
    start = parts.method.classifier.weight.clone()
    moved, weights = [], parts.model.encoder.conv.weight.clone()
    for _ in train(parts, context()):
        moved.append(not torch.equal(parts.method.classifier.weight, start))
        assert not torch.equal(parts.model.encoder.conv.weight, weights)
        weights = parts.model.encoder.conv.weight.clone()
    assert moved == [False, False, True, True]


@pytest.mark.parametrize("wrong", [{"margin": 0}, {"margin": 4.1}, {"first_stage": 1}, {"first_stage": -0.1}], ids=str)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MixAndMatchParameters(**wrong)
