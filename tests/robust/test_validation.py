"""Accuracy under the validation attack: written out, and the same however a model is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import context, reports, toy_dataset, toy_parts, toy_spec

from coretune.robust.adversarial_training import AdversarialTask
from coretune.robust.inner import start_draws
from coretune.robust.validation import AttackedTask, RobustAccuracy
from coretune.spec.validation_attack import ValidationAttack
from coretune.tuning.loop import train

torch.set_num_threads(1)

ATTACK = ValidationAttack(eps="16/255", steps=4, limit=7)


def attacked(**keys: Any) -> ValidationAttack:
    return ATTACK.replace(**keys)


def test_it_is_projected_gradient_ascent_written_out() -> None:
    parts, data = toy_parts(toy_spec(epochs=8, lr=0.3)), toy_dataset()
    parts.model.eval()
    for loss in ("ce", "margin"):
        measure = RobustAccuracy(data, 3, attacked(loss=loss, limit=None))
        assert list(measure.chosen) == list(data.split.validation)
        images = torch.from_numpy(data.packed.images[measure.chosen]).permute(0, 3, 1, 2) / 255
        labels = torch.from_numpy(data.packed.labels[measure.chosen])
        eps = 16 / 255
        draws = start_draws(3, "validation attack", 0, measure.chosen, images)
        found = images + eps * (2 * draws[:, :-1] - 1).view_as(images)
        found = found.clamp(images - eps, images + eps).clamp(0, 1)
        for _ in range(4):
            found = found.detach().requires_grad_()
            logits = parts.model(found)
            own = F.one_hot(labels, 3).bool()
            wrong = logits.masked_fill(own, -1e9).amax(1) - logits[own]
            (F.cross_entropy(logits, labels, reduction="none") if loss == "ce" else wrong).sum().backward()
            found = (found.detach() + eps / 4 * found.grad.sign()).clamp(images - eps, images + eps).clamp(0, 1)
        right = parts.model(found).argmax(1) == labels
        for size in (256, 5):
            accuracy = measure(parts.model, context(evaluation_batch=size))
            assert accuracy == pytest.approx(100 * float(right.double().mean()))


def test_it_is_the_same_with_and_without_an_adversary() -> None:
    clean = toy_spec().replace(validation_attack=attacked())
    trained = toy_spec(adversary={"attack": "pgd", "eps": "1/255"}).replace(validation_attack=attacked())
    parts, others = toy_parts(clean), toy_parts(trained)
    assert isinstance(parts.task, AttackedTask) and isinstance(others.task, AdversarialTask)
    parts.model.eval()
    found = parts.task.evaluate(parts.model, context())
    assert found == others.task.evaluate(parts.model, context())
    assert {"top1", "mean_per_class", "cross_entropy", "robust_top1"} == set(found)


def test_collapse_is_told_by_the_adversary_s_own_size() -> None:
    adversary = {"attack": "fgsm_rs", "eps": "64/255"}
    own, other = (toy_parts(toy_spec(adversary=adversary)) for _ in range(2))
    other = toy_parts(toy_spec(adversary=adversary).replace(validation_attack=attacked(eps="1/2550", limit=None)))
    own.model.eval()
    found, small = (parts.task.evaluate(own.model, context()) for parts in (own, other))
    assert small["robust_top1"] >= small["pgd_top1"] == found["robust_top1"] and "pgd_top1" not in found
    assert small["catastrophic_overfitting"] == found["catastrophic_overfitting"]


def test_a_clean_training_is_the_same_with_it_and_keeps_its_best_epoch_by_it() -> None:
    plain = toy_spec(epochs=4, lr=0.3)
    spec = plain.replace(validation_attack=attacked(limit=None), best_by="robust_top1")
    one, two = train(toy_parts(plain), context()), train(toy_parts(spec), context())
    for alone, beside in zip(reports(one), reports(two), strict=True):
        assert alone.train == beside.train and alone.metrics["top1"] == beside.metrics["top1"]
    assert two.best is not None
    assert two.best.metrics["robust_top1"] == max(report.metrics["robust_top1"] for report in two.history)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from(["linf", "l2"]))
def test_images_are_drawn_by_the_seed_and_accuracy_is_a_share_of_them(seed: int, limit: int, norm: str) -> None:
    data, parts = toy_dataset(), toy_parts(toy_spec())
    parts.model.eval()
    measure = RobustAccuracy(data, seed, attacked(limit=limit, norm=norm, steps=1))
    assert len(measure.chosen) == limit and list(measure.chosen) == sorted(set(measure.chosen))
    assert set(measure.chosen) <= set(data.split.validation)
    accuracy = measure(parts.model, context())
    assert (accuracy * limit / 100) == pytest.approx(round(accuracy * limit / 100))
    assert accuracy == measure(parts.model, context())
