"""Adversarial training: its losses written out, its validation, and several workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.crew import Crew
from support.near import assert_near
from support.sharded import adversarial_step, training_result
from support.training import catalog, context, reports, tensors_of, toy_dataset, toy_parts, toy_spec
from torch import Tensor

from coretune.errors import RequestError
from coretune.robust.adversarial_training import AdversarialTask, divergence, overfitting
from coretune.robust.draws import normal_of
from coretune.robust.inner import NEAR, climb, start_draws, uniform_start
from coretune.robust.threat import ThreatModel
from coretune.runs.build import check_adversary
from coretune.tuning.loop import EpochReport, Parts, train
from coretune.tuning.method import LossTerms
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.shard import Shard
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)

MOMENT = Moment(seed=3, epoch=1, step=0, progress=0.4)
METHODS = sorted(name for name in catalog().names("method") if not catalog().get("method", name).refused)
PGD = {"attack": "pgd", "eps": "16/255"}


def one_batch(parts: Parts) -> Batch:
    return next(parts.task.batches(MOMENT.epoch, MOMENT.step, context()))


def loss_of(parts: Parts, batch: Batch, **options: Any) -> LossTerms:
    parts.model.train()
    parts.method.train()
    return parts.task.loss(parts.model, batch, parts.method, MOMENT, context(**options))


def attacked(parts: Parts, batch: Batch, spec: Any, eps: float = 16 / 255) -> Tensor:
    """What is trained on, written out."""
    images, labels = batch.views[0], batch.labels
    draws = start_draws(spec.seed, "attack0", MOMENT.epoch, batch.index.numpy(), images)
    with evaluation_mode(parts.model, parts.method):
        if spec.adversary.attack == "trades":
            clean = parts.model(images).softmax(dim=1).detach()
            found = images + NEAR * normal_of(draws[:, :-1]).view_as(images)
            steps, step = 10, eps / 4
        else:
            found = images + eps * (2 * draws[:, :-1].view_as(images) - 1)
            steps, step = (7, eps / 4) if spec.adversary.attack == "pgd" else (1, 1.25 * eps)
        found = found.clamp(images - eps, images + eps).clamp(0, 1)
        for _ in range(steps):
            found = found.detach().requires_grad_()
            logits = parts.model(found)
            value = F.cross_entropy(logits, labels, reduction="sum")
            if spec.adversary.attack == "trades":
                value = F.kl_div(logits.log_softmax(dim=1), clean, reduction="sum")
            (gradient,) = torch.autograd.grad(value, found)
            found = (found.detach() + step * gradient.sign()).clamp(images - eps, images + eps).clamp(0, 1)
    return found


def logits_of(parts: Parts, images: Tensor) -> Tensor:
    """Of a batch in training mode, in batch-norm groups of four."""
    assert parts.method.classifier is not None
    found: Tensor = torch.cat([parts.method.classifier(parts.model.features(part)) for part in images.split(4)])
    return found


@pytest.mark.parametrize("attack", ["pgd", "fgsm_rs"])
def test_the_loss_is_that_of_the_adversarial_images(attack: str) -> None:
    spec = toy_spec(adversary={"attack": attack, "eps": "16/255"})
    parts, other = toy_parts(spec), toy_parts(spec)
    batch = one_batch(parts)
    images = attacked(other, batch, spec)
    assert (images - batch.views[0]).abs().max() <= 16 / 255 + 1e-6
    loss = loss_of(parts, batch)
    other.model.train()
    torch.testing.assert_close(loss.total, F.cross_entropy(logits_of(other, images), batch.labels))
    assert loss.total > loss_of(toy_parts(toy_spec()), batch).total, "it does harm"


def test_the_loss_of_trades_is_its_equation() -> None:
    spec = toy_spec(adversary={"attack": "trades", "eps": "16/255", "beta": 2.5})
    parts, other = toy_parts(spec), toy_parts(spec)
    batch = one_batch(parts)
    images = attacked(other, batch, spec)
    other.model.train()
    clean, hard = logits_of(other, batch.views[0]), logits_of(other, images)
    kl = F.kl_div(hard.log_softmax(dim=1), clean.softmax(dim=1), reduction="batchmean")
    expected = F.cross_entropy(clean, batch.labels) + 2.5 * kl
    found = loss_of(parts, batch)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.terms["divergence"], kl.detach())
    expected.backward()
    found.total.backward()
    for mine, theirs in zip(parts.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_with_clean_features_half_of_the_loss_is_that_of_the_adversarial_images() -> None:
    spec = toy_spec(adversary={**PGD, "features": "clean"})
    parts, other = toy_parts(spec), toy_parts(spec)
    batch = one_batch(parts)
    images = attacked(other, batch, spec)
    other.model.train()
    clean = F.cross_entropy(logits_of(other, batch.views[0]), batch.labels)
    hard = F.cross_entropy(logits_of(other, images), batch.labels)
    torch.testing.assert_close(loss_of(parts, batch).total, (clean + hard) / 2)


def test_with_both_features_the_method_sees_each_image_beside_what_became_of_it() -> None:
    spec = toy_spec(adversary={**PGD, "features": "both"})
    parts, other = toy_parts(spec), toy_parts(spec)
    batch = one_batch(parts)
    images = attacked(other, batch, spec)
    other.model.train()
    pairs = torch.stack([batch.views[0], images], dim=1).flatten(0, 1)
    expected = F.cross_entropy(logits_of(other, pairs), batch.labels.repeat_interleave(2))
    torch.testing.assert_close(loss_of(parts, batch).total, expected)


def test_the_attack_leaves_modes_statistics_and_gradients_alone() -> None:
    spec = toy_spec("core_tuning", adversary=PGD)
    parts = toy_parts(spec, dropout=0.5)
    before = {name: value.clone() for name, value in parts.model.named_buffers()}
    task = parts.task
    assert isinstance(task, AdversarialTask)
    parts.model.train()
    modes = [part.training for part in parts.model.modules()]
    batch = one_batch(parts)
    seen: list[bool] = []
    hook = parts.model.encoder.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    loss_of(parts, batch)
    hook.remove()
    assert seen == [False] * 7 + [True] * 2, "seven steps of attack, then two groups"
    assert [part.training for part in parts.model.modules()] == modes
    assert all(parameter.grad is None for parameter in parts.model.parameters())
    plain = toy_parts(toy_spec("core_tuning"), dropout=0.5)
    loss_of(plain, batch)
    counted = dict(plain.model.named_buffers())["encoder.norm.num_batches_tracked"]
    assert (
        dict(parts.model.named_buffers())["encoder.norm.num_batches_tracked"]
        == counted
        > before["encoder.norm.num_batches_tracked"]
    )


@pytest.mark.parametrize("adversary", [PGD, {"attack": "trades"}, {**PGD, "norm": "l2", "eps": 0.5}], ids=str)
def test_a_micro_batch_changes_nothing(adversary: Mapping[str, Any]) -> None:
    spec = toy_spec("core_tuning", adversary=adversary)
    batch = one_batch(toy_parts(spec))
    whole, small = loss_of(toy_parts(spec), batch), loss_of(toy_parts(spec), batch, micro_batch=3)
    torch.testing.assert_close(whole.total, small.total)


def test_the_size_grows_with_the_warm_up() -> None:
    spec = toy_spec(adversary={**PGD, "warmup_epochs": 2.0}, epochs=4)
    parts, other = toy_parts(spec), toy_parts(spec)
    batch, steps = one_batch(parts), parts.task.steps()
    share = (steps + 1) / (2 * steps)  # at the first step of the second epoch
    images = attacked(other, batch, spec, eps=share * 16 / 255)
    other.model.train()
    torch.testing.assert_close(loss_of(parts, batch).total, F.cross_entropy(logits_of(other, images), batch.labels))


def test_robust_accuracy_lies_between_none_and_that_of_clean_images() -> None:
    found = {}
    for eps in ("1/2550", "16/255", "128/255"):
        spec = toy_spec(adversary={"attack": "pgd", "eps": eps}, epochs=8, lr=0.3).replace(best_by="robust_top1")
        parts = toy_parts(spec)
        training = train(parts, context())
        *_, last = reports(training)
        found[eps] = last.metrics
        assert training.best is not None
        assert training.best.metrics["robust_top1"] == max(report.metrics["robust_top1"] for report in training.history)
    assert found["1/2550"]["robust_top1"] == found["1/2550"]["top1"] > 90
    assert found["128/255"]["robust_top1"] < 40


def test_the_validation_attack_is_that_written_out_and_the_same_each_time() -> None:
    spec = toy_spec(adversary={"attack": "fgsm_rs", "eps": "16/255", "validation_steps": 4, "validation_limit": 7})
    parts = toy_parts(spec)
    parts.model.eval()
    task = parts.task
    assert isinstance(task, AdversarialTask)
    data, chosen = toy_dataset(), task._robust.chosen
    assert len(chosen) == 7 and set(chosen) <= set(data.split.validation) and list(chosen) == sorted(chosen)
    images = torch.from_numpy(data.packed.images[chosen]).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(data.packed.labels[chosen])
    threat = ThreatModel.parse("linf", "16/255")
    start = uniform_start(threat, start_draws(spec.seed, "validation attack", 0, chosen, images), images)

    def accuracy(step: float, steps: int) -> float:
        hard = climb(
            lambda x: F.cross_entropy(parts.model(x), labels, reduction="none"),
            images,
            start,
            threat,
            step=step,
            steps=steps,
        )
        return float(100 * (parts.model(hard).argmax(dim=1) == labels).double().mean())

    for size in (256, 3):
        found = task.evaluate(parts.model, context(evaluation_batch=size))
        assert found["robust_top1"] == pytest.approx(accuracy(4 / 255, 4))
        assert found["fgsm_top1"] == pytest.approx(accuracy(20 / 255, 1))
        assert found["catastrophic_overfitting"] == float(found["robust_top1"] < found["fgsm_top1"] / 2)


def test_catastrophic_overfitting_is_told() -> None:
    metrics = {"top1": 90.0, "robust_top1": 3.0, "fgsm_top1": 85.0, "catastrophic_overfitting": 1.0}
    said = overfitting(EpochReport(4, metrics, {}, {}, images=0, seconds=0.0, evaluate_s=0.0))
    assert said.startswith(
        "catastrophic overfitting at epoch 4: 85.0 % of the validation images withstand the one step"
    )
    assert not overfitting(
        EpochReport(4, metrics | {"catastrophic_overfitting": 0.0}, {}, {}, images=0, seconds=0.0, evaluate_s=0.0)
    )
    assert not overfitting(EpochReport(4, {"top1": 90.0}, {}, {}, images=0, seconds=0.0, evaluate_s=0.0))


def test_divergence_is_that_of_torch() -> None:
    one, other = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    expected = F.kl_div(other.log_softmax(1), one.softmax(1), reduction="none").sum(1)
    torch.testing.assert_close(divergence(one, other), expected)
    assert torch.autograd.gradcheck(divergence, (one.requires_grad_(), other.requires_grad_()))
    assert divergence(one, one).abs().max() < 1e-12


@pytest.mark.parametrize("method", ["input_mixup", "cutmix"])
def test_trades_is_refused_where_images_are_mixed(method: str) -> None:
    spec = toy_spec(method, adversary={"attack": "trades"})
    with pytest.raises(RequestError, match=f"{method} sees neither, but mixed ones"):
        check_adversary(spec, toy_parts(spec).method)
    check_adversary(toy_spec(method, adversary=PGD), toy_parts(spec).method)


@pytest.mark.parametrize("features", ["adversarial", "clean", "both"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_against_an_adversary(method: str, features: str) -> None:
    spec = toy_spec(method, adversary={**PGD, "steps": 1, "features": features}, epochs=1)
    (report,) = reports(train(toy_parts(spec), context()))
    assert 0 <= report.metrics["robust_top1"] <= 100


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize(
    "adversary", [PGD, {**PGD, "features": "clean"}, {**PGD, "features": "both"}, {"attack": "trades"}], ids=str
)
@pytest.mark.parametrize(
    "groups", [{"contrast_batch": 3}, {"contrast_batch": 12}, {"contrast_batch": 6, "bn_group": 4}], ids=str
)
@pytest.mark.parametrize("method", ["core_tuning", "scl"])
def test_a_step_is_that_of_one_worker(
    crew: Crew, workers: int, adversary: Mapping[str, Any], groups: Mapping[str, int], method: str
) -> None:
    spec = toy_spec(method, adversary=adversary, batch=12, **groups)
    alone = adversarial_step(Shard(), spec, MOMENT)
    for found in crew.run(workers, adversarial_step, spec, MOMENT):
        assert_near(found, alone, rtol=1e-6, atol=1e-9)


def test_a_whole_training_is_that_of_one_worker(crew: Crew) -> None:
    spec = toy_spec(
        "core_tuning", adversary={"attack": "fgsm_rs", "validation_limit": 9}, epochs=2, batch=16, contrast_batch=8
    )
    alone = training_result(Shard(), spec, 35, torch.float64)
    for found in crew.run(3, training_result, spec, 35, torch.float64):
        assert_near(found, alone, rtol=1e-7, atol=1e-9)


def test_a_resumed_training_is_the_same() -> None:
    spec = toy_spec("core_tuning", adversary=PGD, epochs=2)
    parts = toy_parts(spec)
    reports(train(parts, context()))
    stopped = train(toy_parts(spec), context(tick_s=0.0))
    for _ in range(3):
        next(stopped)
    again = toy_parts(spec)
    reports(train(again, context(), stopped.state()))
    for name, value in tensors_of(parts).items():
        assert torch.equal(value, tensors_of(again)[name]), name
