"""MoCo-v2: the loss by loops, momentum, the queue, where gradients go, the state."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coretune.pretrain.moco import MoCo
from coretune.spec.catalog.pretraining import MoCoParameters
from coretune.tuning.method import Step

torch.set_num_threads(1)

Encode = Callable[[Tensor], Tensor]


def make(queue: int = 10, momentum: float = 0.9, seed: int = 0) -> tuple[MoCo, nn.Module, Encode]:
    """A method, its encoder, and the encoder behind a normalisation, as a model has it."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    method = MoCo(MoCoParameters(queue=queue, momentum=momentum, projection_dim=4), features=5)
    method.prepare(encoder)
    return method, encoder, lambda images: encoder((images - 0.4) / 0.2)


def make_step(encode: Encode, n: int = 3, seed: int = 1) -> Step:
    views = tuple(torch.rand(2, n, 3, 6, 6, generator=torch.Generator().manual_seed(seed)).unbind())
    generator = torch.Generator().manual_seed(0)
    return Step(encode(views[0]), torch.zeros(n).long(), views, encode, generator, epoch=0, progress=0.0)


def expected_keys(method: MoCo, images: Tensor) -> Tensor:
    """Keys by a copy of the key encoder, so that no statistics of batch norm are touched."""
    encoder, projector = copy.deepcopy(method.key_encoder.net), copy.deepcopy(method.key_projector)
    keys: Tensor = projector(encoder((images - 0.4) / 0.2))
    return keys.detach()


def disturb(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def test_loss_equals_the_formula() -> None:
    method, _, encode = make()
    disturb(method.key_encoder)
    disturb(method.key_projector)
    step = make_step(encode)
    keys, queue = expected_keys(method, step.views[1]).tolist(), method.queue.tolist()
    queries = method.projector(step.features).tolist()
    expected = 0.0
    for query, key in zip(queries, keys, strict=True):
        scores = [sum(a * b for a, b in zip(query, other, strict=True)) / 0.2 for other in [key, *queue]]
        expected -= math.log(math.exp(scores[0]) / sum(math.exp(score) for score in scores)) / 3
    loss = method.loss(step)
    assert loss.total.item() == pytest.approx(expected, abs=1e-5)
    assert loss.terms["contrastive"].item() == loss.total.item()
    assert method.views == 2 and method.classifier is None


def test_gradients_reach_the_query_and_never_the_key() -> None:
    method, encoder, encode = make()
    step = make_step(encode)
    method.loss(step).total.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder[0].parameters() if p.ndim > 1)
    assert all(p.grad is not None for p in method.projector.parameters())
    for module in (method.key_encoder, method.key_projector):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    trained = {name.split(".")[0] for name, p in method.named_parameters() if p.requires_grad}
    assert trained == {"projector"}


def test_keys_use_the_key_encoder_behind_the_normalisation_and_leave_the_encoder_alone() -> None:
    method, encoder, encode = make()
    disturb(method.key_encoder)
    step = make_step(encode)
    before = copy.deepcopy(encoder.state_dict())
    keys = expected_keys(method, step.views[1])
    statistics = method.key_encoder.net[1].running_mean.clone()
    weight = encoder[0].weight
    method.loss(step)
    assert torch.allclose(method.queue[:3], keys, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder[0].weight is weight and weight.requires_grad
    assert not torch.equal(method.key_encoder.net[1].running_mean, statistics)
    assert int(method.key_encoder.net[1].num_batches_tracked) == 1


def test_momentum_update_is_exact() -> None:
    method, encoder, _ = make(momentum=0.9)
    disturb(encoder)
    disturb(method.projector)
    pairs = ((encoder, method.key_encoder.net), (method.projector, method.key_projector))
    before = [[p.clone() for p in key.parameters()] for _, key in pairs]
    buffers = [buffer.clone() for buffer in method.key_encoder.buffers()]
    method.after_step(encoder)
    for (trained, key), old in zip(pairs, before, strict=True):
        for new, now, was in zip(trained.parameters(), key.parameters(), old, strict=True):
            assert torch.allclose(now, 0.9 * was + 0.1 * new, atol=1e-7)
            assert not torch.equal(now, was)
    assert all(torch.equal(a, b) for a, b in zip(method.key_encoder.buffers(), buffers, strict=True))


@given(st.integers(1, 12), st.lists(st.integers(1, 15), min_size=1, max_size=6))
@settings(max_examples=25)
def test_the_queue_is_first_in_first_out(size: int, batches: list[int]) -> None:
    method, _, encode = make(queue=size)
    expected = deque(method.queue.tolist(), maxlen=size)
    for number, n in enumerate(batches):
        step = make_step(encode, n + 1, seed=number)
        expected.extend(expected_keys(method, step.views[1]).tolist())
        method.loss(step)
    oldest = int(method.pointer)
    rolled = torch.cat([method.queue[oldest:], method.queue[:oldest]])
    assert torch.allclose(rolled, torch.tensor(list(expected)), atol=1e-5)


def test_the_queue_starts_as_fixed_random_unit_vectors() -> None:
    first, second = make(seed=0)[0], make(seed=1)[0]
    assert torch.equal(first.queue, second.queue)
    assert torch.allclose(first.queue.norm(dim=1), torch.ones(10), atol=1e-6)
    assert float((first.queue @ first.queue.T).triu(1).max()) < 0.9999


def test_evaluation_leaves_the_queue_alone() -> None:
    method, _, encode = make()
    method.eval()
    queue = method.queue.clone()
    method.loss(make_step(encode))
    assert torch.equal(method.queue, queue) and int(method.pointer) == 0


def train(method: MoCo, encoder: nn.Module, encode: Encode, steps: range, optimizer: torch.optim.Optimizer) -> None:
    for number in steps:
        loss = method.loss(make_step(encode, 4, seed=number))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        method.after_step(encoder)


def test_state_goes_on_exactly() -> None:
    def start() -> tuple[MoCo, nn.Module, Encode, torch.optim.Optimizer]:
        method, encoder, encode = make(queue=7)
        trained = [p for p in [*encoder.parameters(), *method.parameters()] if p.requires_grad]
        return method, encoder, encode, torch.optim.SGD(trained, lr=0.1)

    method, encoder, encode, optimizer = start()
    train(method, encoder, encode, range(3), optimizer)
    state = copy.deepcopy((method.state_dict(), encoder.state_dict()))
    train(method, encoder, encode, range(3, 6), optimizer)
    again, other, encode_other, optimizer = start()
    disturb(again)
    again.load_state_dict(state[0])
    other.load_state_dict(state[1])
    train(again, other, encode_other, range(3, 6), optimizer)
    for name, value in method.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert {"queue", "pointer", "key_encoder.net.0.weight"} <= set(state[0])


def test_the_loss_falls_below_chance() -> None:
    method, encoder, encode = make(queue=16, momentum=0.5)
    trained = [p for p in [*encoder.parameters(), *method.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.2, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        images = torch.rand(16, 3, 1, 1, generator=generator).expand(-1, -1, 6, 6)
        views = tuple((images + 0.02 * torch.randn(2, 16, 3, 6, 6, generator=generator)).unbind())
        step = Step(encode(views[0]), torch.zeros(16).long(), views, encode, generator, epoch=0, progress=0.0)
        loss = method.loss(step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        method.after_step(encoder)
        losses.append(loss.total.item())
    assert sum(losses[-10:]) / 10 < 0.75 * math.log(17)


def test_loss_is_float32_under_autocast() -> None:
    method, _, encode = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.loss(make_step(encode))
    assert loss.total.dtype == torch.float32 and loss.total.isfinite()
    assert method.queue.dtype == torch.float32


def test_unprepared() -> None:
    method = MoCo(MoCoParameters(projection_dim=4), features=5)
    views = (torch.rand(2, 3, 6, 6),) * 2
    step = Step(torch.randn(2, 5), torch.zeros(2).long(), views, F.relu, torch.Generator(), epoch=0, progress=0.0)
    with pytest.raises(RuntimeError, match=r"MoCo.loss before MoCo.prepare\(encoder\)"):
        method.loss(step)
