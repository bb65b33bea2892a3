"""L2-SP: both penalties equal the paper's formula, and hold what they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import TinyNet, catalog, context, reports, toy_parts, toy_spec
from torch import Tensor, nn

from coretune.spec.catalog.methods.regularisers import L2SPParameters
from coretune.spec.components import NoParameters
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.loop import train
from coretune.tuning.method import Step
from coretune.tuning.methods.cross_entropy import CrossEntropy
from coretune.tuning.methods.l2_sp import L2SP
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)
LABELS = torch.tensor([0, 2, 1, 1, 0])


def make(seed: int = 0, **options: Any) -> tuple[L2SP, TinyNet]:
    torch.manual_seed(seed)
    encoder = TinyNet(features=4).double()
    method = L2SP(L2SPParameters(**options), features=4, classes=3).double()
    method.prepare(encoder)
    return method, encoder


def disturb(module: nn.Module, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


def step(features: Tensor) -> Step:
    return Step(features, LABELS, (), None, torch.Generator().manual_seed(0), epoch=0, progress=0.0)


def features() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def literal(now: dict[str, Tensor], start: dict[str, Tensor] | None, names: set[str]) -> float:
    total = 0.0
    for name in names:
        before = torch.zeros_like(now[name]) if start is None else start[name]
        for w, w0 in zip(now[name].flatten().tolist(), before.flatten().tolist(), strict=True):
            total += 0.5 * (w - w0) ** 2
    return total


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), alpha=st.sampled_from([0.0, 0.01, 1.0]), beta=st.sampled_from([0.0, 0.5]))
@pytest.mark.parametrize(
    ("penalised", "backbone", "head"),
    [
        ("all", {"conv.weight", "norm.weight", "norm.bias"}, {"weight", "bias"}),
        ("weights", {"conv.weight"}, {"weight"}),
    ],
)
def test_loss_equals_the_paper(
    seed: int, alpha: float, beta: float, penalised: str, backbone: set[str], head: set[str]
) -> None:
    method, encoder = make(seed, alpha=alpha, beta=beta, penalised=penalised)
    start = {name: value.clone() for name, value in encoder.named_parameters()}
    disturb(encoder, seed)
    drift = literal(dict(encoder.named_parameters()), start, backbone)
    size = literal(dict(method.classifier.named_parameters()), None, head)
    plain = CrossEntropy(NoParameters(), features=4, classes=3).double()
    plain.load_state_dict(method.classifier.state_dict(prefix="classifier."))
    loss = method.loss(step(features()))
    assert loss.terms["drift"].item() == pytest.approx(drift, rel=1e-10)
    assert loss.terms["head"].item() == pytest.approx(size, rel=1e-10)
    cross_entropy = plain.loss(step(features())).total.item()
    assert loss.terms["cross_entropy"].item() == pytest.approx(cross_entropy, rel=1e-10)
    assert loss.total.item() == pytest.approx(cross_entropy + alpha * drift + beta * size, rel=1e-10)


def test_gradient() -> None:
    method, encoder = make(alpha=0.3, beta=0.2)
    disturb(encoder)
    inputs = [*encoder.parameters(), *method.classifier.parameters()]
    assert torch.autograd.gradcheck(lambda *_: method.loss(step(features())).total, inputs)


def test_the_penalty_pulls_towards_the_start() -> None:
    method, encoder = make(alpha=0.25)
    start = [parameter.detach().clone() for parameter in encoder.parameters()]
    assert method.loss(step(features())).terms["drift"].item() == 0
    disturb(encoder)
    method.loss(step(features())).total.backward()
    for parameter, before in zip(encoder.parameters(), start, strict=True):
        torch.testing.assert_close(parameter.grad, 0.25 * (parameter.detach() - before))


@pytest.mark.parametrize("contrast_batch", [2, 3, 12])
def test_it_counts_once_however_a_batch_is_divided(contrast_batch: int) -> None:
    parts = toy_parts(toy_spec("l2_sp", batch=12, contrast_batch=contrast_batch), dtype=torch.float64)
    disturb(parts.model.encoder)
    images = torch.rand(11, 3, 8, 8, dtype=torch.float64)
    data = Batch((images,), torch.arange(11) % 3, torch.arange(11))
    loss = contrast_loss(parts.model, data, parts.method, parts.train, Moment(1, 0, 0, 0.0), context())
    start = parts.method.start.clone()
    now = torch.cat([parameter.flatten() for parameter in parts.model.encoder.parameters()])
    assert loss.terms["drift"].item() == pytest.approx(0.5 * (now - start).square().sum().item(), rel=1e-12)


def test_the_start_is_that_of_the_first_session() -> None:
    method, _ = make()
    resumed, _encoder = make(seed=5)
    assert not torch.equal(resumed.start, method.start)
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(resumed.start, method.start)
    assert resumed.loss(step(features())).terms["drift"].item() > 0
    assert set(method.state_dict()) == {"start", "classifier.weight", "classifier.bias"}
    assert set(dict(method.named_parameters())) == {"classifier.weight", "classifier.bias"}


def test_a_heavy_penalty_keeps_the_weights() -> None:
    moved = []
    for alpha in (0.0, 10.0):
        parts = toy_parts(toy_spec("l2_sp", params={"alpha": alpha}, weight_decay=0.0, lr=0.02))
        reports(train(parts, context()))
        now = torch.cat([parameter.detach().flatten() for parameter in parts.model.encoder.parameters()])
        moved.append(float((now - parts.method.start).norm()))
    assert moved[1] < 0.5 * moved[0]


def test_weight_decay_is_switched_off() -> None:
    assert catalog().get("method", "l2_sp").train == {"weight_decay": 0.0}


def test_loss_without_an_encoder() -> None:
    method = L2SP(L2SPParameters(), features=4, classes=3)
    with pytest.raises(RuntimeError, match=r"before L2SP.prepare\(encoder\)"):
        method.loss(step(torch.zeros(5, 4)))
