"""SCL: the loss by loops, its two weightings, where gradients go."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.spec.catalog.methods.contrast import SclParameters
from coretune.tuning.method import Step
from coretune.tuning.methods.scl import SupervisedContrast

torch.set_num_threads(1)


def make(seed: int = 0, **options: Any) -> SupervisedContrast:
    torch.manual_seed(seed)
    params = SclParameters(**{"projection_dim": 4, "temperature": 0.4, **options})
    return SupervisedContrast(params, features=6, classes=3).double()


def step(features: Tensor, labels: Tensor, progress: float = 0.0) -> Step:
    return Step(features, labels, (), None, torch.Generator(), epoch=0, progress=progress)


def sample(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=draws, dtype=torch.float64), torch.randint(3, (n,), generator=draws)


def literal(method: SupervisedContrast, features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Cross-entropy and SupCon with loops over samples."""
    n = len(labels)
    logits = (features @ method.classifier.weight.T + method.classifier.bias).tolist()
    cross_entropy = sum(
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits, labels.tolist(), strict=True)
    )
    first, _, second = method.projector.layers
    z = torch.relu(features @ first.weight.T + first.bias) @ second.weight.T + second.bias
    z = (z / z.norm(dim=1, keepdim=True)).detach()
    contrast, anchors = 0.0, 0
    for i in range(n):
        positives = [k for k in range(n) if k != i and labels[k] == labels[i]]
        if positives:
            anchors += 1
            mass = sum(math.exp(float(z[i] @ z[k]) / method.temperature) for k in range(n) if k != i)
            terms = [math.log(math.exp(float(z[i] @ z[k]) / method.temperature) / mass) for k in positives]
            contrast -= sum(terms) / len(terms)
    return cross_entropy / n, contrast / max(anchors, 1)


@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 2.0]), st.sampled_from([0.1, 0.7]))
@settings(max_examples=50)
def test_loss_equals_the_formula(n: int, seed: int, eta: float, temperature: float) -> None:
    method = make(eta=eta, temperature=temperature)
    features, labels = sample(n, seed)
    loss = method.loss(step(features, labels))
    cross_entropy, contrastive = literal(method, features, labels)
    assert loss.terms["cross_entropy"].item() == pytest.approx(cross_entropy, abs=1e-10)
    assert loss.terms["contrastive"].item() == pytest.approx(contrastive, abs=1e-10)
    assert loss.total.item() == pytest.approx(cross_entropy + eta * contrastive, abs=1e-10)
    alone = sum(int((labels == label).sum()) == 1 for label in labels)
    assert loss.counts["anchors_without_positive"].item() == alone


def test_gradient() -> None:
    method = make(eta=0.5)
    features, labels = sample(7, 3)
    assert torch.autograd.gradcheck(lambda x: method.loss(step(x, labels)).total, (features.requires_grad_(),))


def test_eta_zero_is_cross_entropy() -> None:
    method = make(eta=0.0)
    features, labels = sample(8)
    features.requires_grad_()
    (found,) = torch.autograd.grad(method.loss(step(features, labels)).total, features)
    (expected,) = torch.autograd.grad(F.cross_entropy(method.classifier(features), labels), features)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_it_is_the_papers_weighting_up_to_a_factor(share: float) -> None:
    method = make(eta=share / (1 - share))
    features, labels = sample(8)
    loss = method.loss(step(features, labels))
    paper = (1 - share) * loss.terms["cross_entropy"] + share * loss.terms["contrastive"]
    assert (1 - share) * loss.total.item() == pytest.approx(paper.item(), abs=1e-12)


@given(st.integers(2, 9), st.integers(0, 10**6))
@settings(max_examples=25)
def test_the_order_of_samples_does_not_matter(n: int, seed: int) -> None:
    method = make(eta=1.0)
    features, labels = sample(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    totals = [method.loss(step(features[o], labels[o])).total.item() for o in (torch.arange(n), order)]
    assert totals[0] == pytest.approx(totals[1], abs=1e-12)


def test_every_parameter_gets_a_gradient_at_any_time() -> None:
    for progress in (0.0, 0.99):
        method = make(eta=0.5)
        method.loss(step(*sample(8), progress)).total.backward()
        assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in method.parameters())


def test_losses_are_float32_under_autocast() -> None:
    method = make(eta=1.0).float()
    features, labels = sample(8)
    full = method.loss(step(features.float(), labels))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = method.loss(step(features.bfloat16(), labels))
    for name, value in cast.terms.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(full.terms[name].item(), rel=0.05)


def test_a_nan_reaches_the_loss() -> None:
    features, labels = sample(8)
    features[0, 0] = math.nan
    assert make().loss(step(features, labels)).total.isnan()


def test_options_shape_the_head() -> None:
    layers = make(projection_hidden=5).projector.layers
    assert (layers[0].in_features, layers[0].out_features, layers[2].out_features) == (6, 5, 4)


@pytest.mark.parametrize(
    "wrong", [{"eta": -0.1}, {"temperature": 0.0}, {"projection_dim": 1}, {"projection_hidden": 0}], ids=str
)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SclParameters(**wrong)


def test_wrong_number_of_classes() -> None:
    with pytest.raises(ValueError, match=r"classes: got 0, need an integer >= 1"):
        SupervisedContrast(SclParameters(), features=6, classes=0)
