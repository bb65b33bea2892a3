"""The optimiser against torch's own, the schedule against formulas and torch's schedulers."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from coretune.nets.backbone import Backbone
from coretune.spec.run import TrainSpec
from coretune.tuning.optimizer import forget, learning_rate_factor, make_optimizer, set_learning_rate

torch.set_num_threads(1)


class Tokens(Backbone):
    """A backbone with parameters that are neither biases nor of norm layers, and that weight decay spares."""

    undecayed = frozenset({"token", "inner.table"})

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.inner = nn.Linear(4, 4)
        self.inner.table = nn.Parameter(torch.zeros(4))
        self.table = nn.Parameter(torch.zeros(4))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.group = nn.GroupNorm(2, 4)
        self.rms = nn.RMSNorm(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.scale = nn.Parameter(torch.ones(4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder()


def names(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[float, float, set[str]]]:
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return [
        (g["scale"], g["weight_decay"], {known.get(id(p), "?") for p in g["params"]}) for g in optimizer.param_groups
    ]


@pytest.mark.parametrize("all_decayed", [True, False])
def test_what_a_backbone_says_is_spared_too(all_decayed: bool) -> None:
    net = Tokens()
    optimizer = make_optimizer(net, nn.Identity(), TrainSpec(weight_decay=0.01, decay_norm_and_bias=all_decayed))
    spared = set() if all_decayed else {"token", "inner.table", "inner.bias"}
    assert names(net, optimizer)[0] == (1.0, 0.01, {name for name, _ in net.named_parameters()} - spared)
    assert names(net, optimizer)[1:] == ([] if all_decayed else [(1.0, 0.0, spared)])


def test_groups_have_scale_and_decay_and_leave_frozen_parameters_out() -> None:
    both = nn.ModuleDict({"encoder": encoder(), "method": nn.Linear(4, 2)})
    spec = TrainSpec(lr=0.1, head_lr=5.0, weight_decay=0.01, decay_norm_and_bias=False)
    optimizer = make_optimizer(both["encoder"], both["method"], spec)
    decayed = {"conv.weight", "scale", "attention.in_proj_weight", "attention.out_proj.weight"}
    spared = {"conv.bias", "norm.weight", "norm.bias", "group.weight", "group.bias", "rms.weight"}
    spared |= {"attention.in_proj_bias", "attention.out_proj.bias"}
    assert names(both, optimizer) == [
        (1.0, 0.01, {f"encoder.{name}" for name in decayed}),
        (1.0, 0.0, {f"encoder.{name}" for name in spared}),
        (5.0, 0.01, {"method.weight"}),
        (5.0, 0.0, {"method.bias"}),
    ]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1, 0.5, 0.5]
    set_learning_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2, 1.0, 1.0]


def test_everything_decays_by_default() -> None:
    optimizer = make_optimizer(encoder(), nn.Linear(4, 2), TrainSpec(weight_decay=0.01))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 12 + 2


def test_a_shared_parameter_is_updated_once_with_the_encoders_rate() -> None:
    shared = nn.Linear(3, 3)
    module = nn.Sequential(shared, shared)
    optimizer = make_optimizer(module, nn.Sequential(shared, nn.Linear(3, 2)), TrainSpec(head_lr=2.0))
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        make_optimizer(nn.Identity(), nn.Identity(), TrainSpec())


@pytest.mark.parametrize(
    ("recipe", "reference"),
    [
        ({"nesterov": True}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
        ({"nesterov": False}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01)),
        ({"momentum": 0.0}, lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01)),
        ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, 0.1, betas=(0.9, 0.999), weight_decay=0.01)),
        ({"optimizer": "adamw", "momentum": 0.5}, lambda p: torch.optim.AdamW(p, 0.1, (0.5, 0.999), weight_decay=0.01)),
    ],
)
def test_updates_are_torchs(recipe: dict[str, Any], reference: Any) -> None:
    ours = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)).double()
    theirs = copy.deepcopy(ours)
    optimizer = make_optimizer(ours[0], ours[1], TrainSpec.model_validate({"lr": 0.1, "weight_decay": 0.01, **recipe}))
    expected = reference(theirs.parameters())
    draws = torch.Generator().manual_seed(1)
    for _ in range(5):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=draws, dtype=torch.float64)
            other.grad = one.grad.clone()
        optimizer.step()
        expected.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def rates(scheduler: Any, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_after_warmup_is_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    # The first step of ours is at 1 / warmup, torch's at `start_factor`; both are at the peak after the warm-up.
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 5, total_iters=4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=15)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[5])
    expected = rates(both, optimizer, 20)
    assert [learning_rate_factor(step, 20, 5, "cosine") for step in range(20)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "steps", "warmup", "schedule", "expected"),
    [
        (0, 10, 0, "cosine", 1.0),
        (5, 10, 0, "cosine", 0.5),
        (9, 10, 0, "cosine", 0.5 * (1 + math.cos(0.9 * math.pi))),
        (9, 10, 0, "constant", 1.0),
        (0, 10, 4, "constant", 0.25),
        (3, 10, 4, "constant", 1.0),
        (0, 10, 2.5, "cosine", 0.4),
        (2, 10, 2.5, "cosine", 1.0),
        (3, 10, 2.5, "cosine", 0.5 * (1 + math.cos(math.pi * 0.5 / 7.5))),
        (0, 10, 0.5, "cosine", 1.0),
        (0, 1, 0, "cosine", 1.0),
        (9, 10, 10, "cosine", 1.0),
    ],
)
def test_known_factors(step: int, steps: int, warmup: float, schedule: str, expected: float) -> None:
    assert learning_rate_factor(step, steps, warmup, schedule) == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [1, 4, 10])
def test_a_cosine_by_epoch_is_that_of_the_authors_script(epochs: int) -> None:
    # CosineAnnealingLR(optimizer, epochs), stepped after each epoch.
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    expected = rates(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs), optimizer, epochs)
    found = [learning_rate_factor(step, 3 * epochs, 0, "cosine_by_epoch", 3) for step in range(3 * epochs)]
    assert found == pytest.approx([factor for factor in expected for _ in range(3)])


@pytest.mark.parametrize("warmup", [0.5, 4, 5, 6, 8, 8.5, 20])
def test_a_cosine_by_epoch_warms_up_by_steps_and_goes_on_from_the_peak(warmup: float) -> None:
    found = [learning_rate_factor(step, 20, warmup, "cosine_by_epoch", 4) for step in range(20)]
    plain = [learning_rate_factor(step, 20, warmup, "cosine") for step in range(20)]
    for step in range(20):
        first = step - step % 4
        if step < warmup:
            assert found[step] == plain[step]
        elif first < warmup:
            assert found[step] == 1, "the epoch in which the warm-up ends"
        else:
            assert found[step] == plain[first]


@given(
    steps=st.integers(1, 200),
    share=st.floats(0, 1),
    schedule=st.sampled_from(["cosine", "cosine_by_epoch", "constant"]),
    epoch_steps=st.integers(1, 50),
)
def test_factors_rise_to_the_peak_then_never_rise_again(
    steps: int, share: float, schedule: str, epoch_steps: int
) -> None:
    steps -= steps % min(epoch_steps, steps)
    warmup = share * steps
    found = [learning_rate_factor(step, steps, warmup, schedule, epoch_steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in found)
    peak = math.ceil(warmup)
    assert found[:peak] == sorted(found[:peak])
    assert found[peak:] == sorted(found[peak:], reverse=True)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_a_parameter_may_get_its_first_gradient_late(optimizer: str, nesterov: bool) -> None:
    """As if its momentum had not existed before; torch's fused kernel refuses that by itself."""
    spec = TrainSpec(optimizer=optimizer, lr=0.1, momentum=0.5, nesterov=nesterov, weight_decay=0.1)
    early, late, fresh = (nn.Linear(1, 1, bias=False) for _ in range(3))
    with torch.no_grad():
        for layer in (early, late, fresh):
            layer.weight.fill_(1.0)
    both = make_optimizer(nn.ModuleList([early, late]), nn.Module(), spec)
    alone = make_optimizer(fresh, nn.Module(), spec)
    for step in range(4):
        early.weight.grad = torch.ones_like(early.weight)
        if step >= 2:
            late.weight.grad, fresh.weight.grad = (torch.full_like(late.weight, 2.0) for _ in range(2))
            alone.step()
        both.step()
    assert torch.equal(late.weight, fresh.weight) and late.weight.item() < 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_is_forgotten_starts_anew(optimizer: str) -> None:
    layer, fresh = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    spec = TrainSpec(optimizer=optimizer, lr=0.1, momentum=0.5)
    made, other = make_optimizer(layer, nn.Module(), spec), make_optimizer(fresh, nn.Module(), spec)
    layer.weight.grad = torch.full_like(layer.weight, 5.0)
    made.step()
    forget(made, [layer.weight])
    with torch.no_grad():
        fresh.weight.copy_(layer.weight)
    for one, own in ((layer, made), (fresh, other)):
        one.weight.grad = torch.ones_like(one.weight)
        own.step()
    assert torch.equal(layer.weight, fresh.weight)
