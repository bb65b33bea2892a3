"""Manifold mixup at the penultimate layer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.spec.catalog.methods.mixing import ManifoldMixupParameters
from coretune.spec.components import NoParameters
from coretune.tuning.beta import draw_beta
from coretune.tuning.method import Step
from coretune.tuning.methods.cross_entropy import CrossEntropy
from coretune.tuning.methods.manifold_mixup import ManifoldMixup

torch.set_num_threads(1)
CLASSES = 3


def make(alpha: float = 2.0, originals: bool = False) -> ManifoldMixup:
    torch.manual_seed(0)
    params = ManifoldMixupParameters(alpha=alpha, originals=originals)
    return ManifoldMixup(params, features=6, classes=CLASSES)


def step(features: Tensor, labels: Tensor, seed: int = 5) -> Step:
    return Step(features, labels, (), None, torch.Generator().manual_seed(seed), epoch=0, progress=0.0)


def sample(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=draws, dtype=dtype), torch.randint(CLASSES, (n,), generator=draws)


def literal(method: ManifoldMixup, features: Tensor, labels: Tensor, seed: int) -> tuple[float, float]:
    """CE on the originals and on the mixtures, with loops over samples and classes."""
    draws = torch.Generator().manual_seed(seed)
    mix = float(draw_beta(method.params.alpha, (), draws))
    order = torch.randperm(len(labels), generator=draws).tolist()
    weight, bias = method.classifier.weight.tolist(), method.classifier.bias.tolist()
    x, y = features.tolist(), labels.tolist()

    def cross_entropy(row: list[float], target: list[float]) -> float:
        logits = [sum(w * v for w, v in zip(weight[c], row, strict=True)) + bias[c] for c in range(CLASSES)]
        mass = sum(math.exp(value) for value in logits)
        return -sum(q * math.log(math.exp(value) / mass) for q, value in zip(target, logits, strict=True))

    plain = mixed = 0.0
    for i, j in enumerate(order):
        plain += cross_entropy(x[i], [float(c == y[i]) for c in range(CLASSES)]) / len(y)
        row = [mix * a + (1 - mix) * b for a, b in zip(x[i], x[j], strict=True)]
        target = [mix * (c == y[i]) + (1 - mix) * (c == y[j]) for c in range(CLASSES)]
        mixed += cross_entropy(row, target) / len(y)
    return plain, mixed


@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 2.0]), st.booleans())
@settings(max_examples=50)
def test_loss_equals_the_definition(n: int, seed: int, alpha: float, originals: bool) -> None:
    method = make(alpha, originals).double()
    features, labels = sample(n, seed)
    loss = method.loss(step(features, labels, seed))
    plain, mixed = literal(method, features, labels, seed)
    assert loss.terms["mixed_cross_entropy"].item() == pytest.approx(mixed, abs=1e-11)
    assert loss.total.item() == pytest.approx((plain + mixed) / 2 if originals else mixed, abs=1e-11)
    assert set(loss.terms) == {"mixed_cross_entropy"} | ({"cross_entropy"} if originals else set())
    if originals:
        assert loss.terms["cross_entropy"].item() == pytest.approx(plain, abs=1e-11)


@pytest.mark.parametrize("originals", [False, True])
def test_gradient(originals: bool) -> None:
    method = make(originals=originals).double()
    features, labels = sample(6, 3)
    assert torch.autograd.gradcheck(lambda x: method.loss(step(x, labels)).total, (features.requires_grad_(),))


@given(st.integers(2, 8), st.integers(0, 10**6))
@settings(max_examples=30)
def test_samples_of_one_class_and_place_are_not_changed_by_mixing(n: int, seed: int) -> None:
    method = make().double()
    torch.manual_seed(0)
    plain = CrossEntropy(NoParameters(), features=6, classes=CLASSES).double()
    features, labels = sample(1, seed)
    one = step(features.expand(n, 6), labels.expand(n), seed)
    assert method.loss(one).total.item() == pytest.approx(plain.loss(one).total.item(), abs=1e-12)


def test_draws_come_from_the_step_alone() -> None:
    method = make()
    features, labels = sample(8, dtype=torch.float32)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = method.loss(step(features, labels)).total
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(method.loss(step(features, labels)).total, first)
    assert not torch.equal(method.loss(step(features, labels, seed=6)).total, first)


def test_losses_are_float32_under_autocast() -> None:
    method = make(originals=True)
    features, labels = sample(8, dtype=torch.float32)
    full = method.loss(step(features, labels))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = method.loss(step(features.bfloat16(), labels))
    assert cast.total.dtype == torch.float32
    for name, value in cast.terms.items():
        assert value.dtype == torch.float32 and not value.requires_grad
        assert value.item() == pytest.approx(full.terms[name].item(), rel=0.05)


def test_a_nan_reaches_the_loss() -> None:
    features, labels = sample(8, dtype=torch.float32)
    features[0, 0] = math.nan
    assert make().loss(step(features, labels)).total.isnan()


def test_wrong_number_of_classes() -> None:
    with pytest.raises(ValueError, match=r"classes: got 0, need an integer >= 1"):
        ManifoldMixup(ManifoldMixupParameters(), features=4, classes=0)
