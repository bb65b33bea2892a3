"""COIN: what is minimised in each stage, and that the classifier rests in the first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import context, toy_parts, toy_spec
from torch import Tensor

from coretune.spec.catalog.methods.contrast import CoinParameters, SclParameters
from coretune.tuning.loop import train
from coretune.tuning.method import Step
from coretune.tuning.methods.coin import ContrastiveInitialization
from coretune.tuning.methods.scl import SupervisedContrast

torch.set_num_threads(1)

HEAD = {"projection_dim": 4, "eta": 0.5, "temperature": 0.3}


def make(**options: Any) -> ContrastiveInitialization:
    torch.manual_seed(0)
    return ContrastiveInitialization(CoinParameters(**{**HEAD, **options}), features=6, classes=3).double()


def scl() -> SupervisedContrast:
    torch.manual_seed(0)
    return SupervisedContrast(SclParameters(**HEAD), features=6, classes=3).double()


def step(progress: float, n: int = 8, seed: int = 0) -> Step:
    draws = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 6, generator=draws, dtype=torch.float64).requires_grad_()
    return Step(features, torch.randint(3, (n,), generator=draws), (), None, draws, epoch=0, progress=progress)


def gradients(method: ContrastiveInitialization | SupervisedContrast, at: Step) -> dict[str, Tensor]:
    method.loss(at).total.backward()
    found = {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert at.features.grad is not None
    return {**found, "features": at.features.grad}


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=50)
def test_the_stage_follows_the_progress(progress: float, first_stage: float, n: int, seed: int) -> None:
    at = step(progress, n, seed)
    loss = make(first_stage=first_stage).loss(at)
    terms = scl().loss(at).terms
    assert loss.terms == terms
    expected = terms["contrastive"] + (0 if progress < first_stage else 1) * (
        terms["cross_entropy"] - 0.5 * terms["contrastive"]
    )
    assert loss.total.item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_second_stage_begins_at_its_fraction() -> None:
    method = make(first_stage=0.7)
    for steps in (10, 1000, 30):
        terms = method.loss(step(0.7 - 1e-9)).terms
        assert method.loss(step((steps * 7 // 10 - 1) / steps)).total == terms["contrastive"]
        assert method.loss(step(steps * 7 // 10 / steps)).total == terms["cross_entropy"] + 0.5 * terms["contrastive"]


def test_the_classifier_gets_no_gradient_in_the_first_stage() -> None:
    found = gradients(make(), step(0.0))
    assert not any(name.startswith("classifier") for name in found)
    assert all(bool(gradient.any()) for gradient in found.values()) and "projector.layers.0.weight" in found


def test_without_a_first_stage_it_is_scl() -> None:
    found, expected = gradients(make(first_stage=0.0), step(0.0)), gradients(scl(), step(0.0))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_gradient(progress: float) -> None:
    method, at = make(), step(progress, 7)

    def total(features: Tensor) -> Tensor:
        return method.loss(Step(features, at.labels, (), None, at.generator, epoch=0, progress=progress)).total

    assert torch.autograd.gradcheck(total, (at.features,))


def test_in_a_training_the_classifier_moves_from_the_second_stage_on() -> None:
    parts = toy_parts(toy_spec("coin", epochs=10))
    start = parts.method.classifier.weight.clone()
    moved, weights = [], parts.model.encoder.conv.weight.clone()
    for _ in train(parts, context()):
        moved.append(not torch.equal(parts.method.classifier.weight, start))
        assert not torch.equal(parts.model.encoder.conv.weight, weights)
        weights = parts.model.encoder.conv.weight.clone()
    assert moved == [False] * 7 + [True] * 3


def test_defaults_are_those_of_the_source() -> None:
    params = CoinParameters()
    assert (params.first_stage, params.eta, params.temperature, params.projection_dim) == (0.7, 0.1, 0.3, 256)


@pytest.mark.parametrize(
    "wrong", [{"first_stage": 1.0}, {"first_stage": -0.1}, {"eta": -1}, {"temperature": 0}], ids=str
)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CoinParameters(**wrong)
