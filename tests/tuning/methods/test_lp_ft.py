"""LP-FT: a linear probe up to the switch, then CE-tuning that starts from it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import (
    assert_same_tensors,
    catalog,
    context,
    reports,
    tensors_of,
    through_disk,
    toy_parts,
    toy_spec,
)
from torch import Tensor

from coretune.spec.catalog.methods.baselines import LpFtParameters
from coretune.tuning.loop import Parts, Training, train
from coretune.tuning.methods.lp_ft import LpFt

torch.set_num_threads(1)

RECIPE: dict[str, Any] = {"epochs": 4, "batch": 10, "contrast_batch": 5, "weight_decay": 0.1}
STEPS = 8  # 20 images in batches of 10, 4 epochs


def made(method: str = "lp_ft", **params: Any) -> tuple[Parts, Training]:
    parts = toy_parts(toy_spec(method, params=params, **RECIPE))
    return parts, train(parts, context(tick_s=0))


def history(parts: Parts, training: Training) -> list[dict[str, Tensor]]:
    """Weights and buffers before each step, and after the last."""
    assert parts.task.steps() * RECIPE["epochs"] == STEPS
    found = [tensors_of(parts)]
    for _ in training:
        found.append(tensors_of(parts))
    return found


def encoder(tensors: dict[str, Tensor], *, buffers: bool) -> dict[str, Tensor]:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return {k: v for k, v in tensors.items() if k.startswith("encoder.") and k.endswith(statistics) == buffers}


@pytest.mark.parametrize("batch_norm", ["pretrained", "batch"])
@pytest.mark.parametrize(("probe", "alone"), [(0.5, 4), (0.3, 3), (0.01, 1), (0.99, 8)])
def test_it_is_a_linear_probe_up_to_the_switch(probe: float, alone: int, batch_norm: str) -> None:
    found = history(*made(probe=probe, batch_norm=batch_norm))
    probed = history(*made("linear_probe"))
    for step in range(alone + 1):
        assert_same_tensors(found[step], probed[step])
    for step in range(alone, STEPS):
        weights = encoder(found[step], buffers=False), encoder(found[step + 1], buffers=False)
        assert all(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0]), step


def test_batch_norm_keeps_the_pre_trained_statistics_or_takes_the_batches() -> None:
    kept, taken = (history(*made(batch_norm=choice)) for choice in ("pretrained", "batch"))
    for step in range(STEPS):
        assert_same_tensors(encoder(kept[step + 1], buffers=True), encoder(kept[0], buffers=True))
        before, after = encoder(taken[step], buffers=True), encoder(taken[step + 1], buffers=True)
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        assert bool(changed) == (step >= STEPS // 2), step
    assert not torch.equal(kept[-1]["encoder.norm.weight"], kept[0]["encoder.norm.weight"]), "its scale is trained"


def test_fine_tuning_is_that_of_features_with_the_kept_statistics() -> None:
    """One step after the switch against autograd through the model in evaluation mode."""
    recipe = {"epochs": 2, "batch": 20, "contrast_batch": 20, "momentum": 0.0, "weight_decay": 0.0}
    parts = toy_parts(toy_spec("lp_ft", params={"batch_norm": "pretrained"}, **recipe))
    training = train(parts, context(tick_s=0))
    next(training)
    batch = next(iter(parts.task.batches(1, 0, context())))
    parts.model.eval()
    loss = torch.nn.functional.cross_entropy(parts.model(batch.views[0]), batch.labels)
    weight = parts.model.encoder.conv.weight
    (gradient,) = torch.autograd.grad(loss, weight)
    before = weight.detach().clone()
    next(training)
    rate = 0.05 * 0.5  # half a cosine is over
    torch.testing.assert_close(weight.detach(), before - rate * gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("probe", [0.25, 0.5, 0.75])
def test_one_schedule_runs_over_both_parts(probe: float) -> None:
    parts, training = made(probe=probe)
    buffer = training._optimizer.state[parts.model.encoder.conv.weight]["momentum_buffer"]
    rates = []
    for step, _ in enumerate(training):
        rates.append(training._optimizer.param_groups[0]["lr"])
        assert bool(buffer.any()) == (step >= probe * STEPS), "no momentum before the switch"
    assert rates == sorted(rates, reverse=True)
    assert rates[int(probe * STEPS)] == pytest.approx(0.05 * (1 + math.cos(math.pi * probe)) / 2)


@pytest.mark.parametrize("batch_norm", ["pretrained", "batch"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resume_on_either_side_of_the_switch_is_exact(batch_norm: str, optimizer: str) -> None:
    spec = toy_spec("lp_ft", params={"batch_norm": batch_norm}, optimizer=optimizer, **RECIPE)
    whole = toy_parts(spec)
    reports(train(whole, context()))
    for stop in (3, 4, 5):
        stopped = train(toy_parts(spec), context(tick_s=0))
        for _ in range(stop):
            next(stopped)
        resumed = toy_parts(spec)
        reports(train(resumed, context(), through_disk(stopped.state())))
        assert_same_tensors(tensors_of(resumed), tensors_of(whole))


@given(st.floats(0.01, 0.99), st.integers(1, 300))
@settings(max_examples=60)
def test_the_backbone_rests_first_and_never_again(probe: float, steps: int) -> None:
    method = LpFt(LpFtParameters(probe=probe), features=2, classes=2)
    resting = [method.frozen(step / steps) for step in range(steps)]
    assert resting == sorted(resting, reverse=True) and resting[0]
    assert sum(resting) == sum(step / steps < probe for step in range(steps))
    assert abs(sum(resting) - probe * steps) <= 1


def test_the_encoder_is_no_part_of_the_method() -> None:
    parts, _ = made()
    assert set(parts.method.state_dict()) == {"classifier.weight", "classifier.bias"}
    assert parts.method.train() is parts.method


@pytest.mark.parametrize("bad", [0, 1, -0.5, 1.5, True, None])
def test_a_part_of_the_training_is_probed(bad: Any) -> None:
    with pytest.raises(ValueError, match="probe"):
        catalog().ref("method", "lp_ft", {"probe": bad})
