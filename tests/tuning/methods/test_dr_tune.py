"""DR-Tune: the loss by loops over a queue, the calibration and its rotation, and what is kept between steps."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
import torch
from support.calibration import CLASSES, WIDTH, dot, gaussian, literal_calibration
from support.training import TinyNet

from coretune.nets.model import Model
from coretune.spec.catalog.methods.transfer import DRTuneParameters
from coretune.tuning.calibration import calibrate
from coretune.tuning.method import Step
from coretune.tuning.methods.dr_tune import EMPTY, DRTune

torch.set_num_threads(1)


def make(**options: Any) -> tuple[DRTune, Model]:
    torch.manual_seed(0)
    encoder = TinyNet(WIDTH)
    method = DRTune(DRTuneParameters(**{"queue": 7, "rotation_every": 2, **options}), features=WIDTH, classes=CLASSES)
    method.prepare(encoder)
    method.double().train()
    return method, Model(encoder, method.classifier).double().train()


def step(model: Model, labels: list[int], seed: int = 0) -> Step:
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(len(labels), 3, 5, 5, dtype=torch.float64, generator=draws)
    return Step(model.features(images), torch.tensor(labels), (images,), model.features, draws, epoch=0, progress=0.0)


def negative_log(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


def test_the_loss_equals_the_formula_while_the_queue_fills_and_after() -> None:
    method, model = make()
    pretrained = TinyNet(WIDTH).double().eval()
    pretrained.load_state_dict(model.encoder.state_dict())
    queue: deque[tuple[list[float], list[float], int]] = deque(maxlen=7)
    for number, labels in enumerate([[0, 1, 2], [0, 0], [1, 2, 1, 0], [2], [1, 1, 1]]):
        now = step(model, labels, number)
        weight, bias = method.classifier.weight.tolist(), method.classifier.bias.tolist()
        live = now.features.tolist()
        scale = sum(math.sqrt(dot(z, z)) for z in live) / len(live)
        calibrated = literal_calibration(list(queue), method.rotation.tolist(), weight)
        rows = [*live, *([scale * value for value in z] for z in calibrated)]
        every = [*labels, *(label for _, _, label in queue)]
        losses = [
            negative_log([dot(z, w) + b for w, b in zip(weight, bias, strict=True)], y)
            for z, y in zip(rows, every, strict=True)
        ]
        loss = method.loss(now)
        rest = losses[len(live) :]
        # Each row of a queue that has r of its 7 rows counts 7 / r times.
        total = sum(losses[: len(live)]) + sum(7 / len(rest) * value for value in rest)
        assert loss.total.item() == pytest.approx(total / (len(live) + 7), abs=1e-10)
        assert loss.terms["cross_entropy"].item() == pytest.approx(sum(losses[: len(live)]) / len(live), abs=1e-10)
        assert loss.terms["regularisation"].item() == pytest.approx(sum(rest) / max(len(rest), 1), abs=1e-10)
        queue.extend(zip(pretrained(model.normalise(now.views[0])).tolist(), live, labels, strict=True))
        with torch.no_grad():  # a step of training, and with it another rotation
            for parameter in [*model.encoder.parameters(), *method.classifier.parameters()]:
                parameter.add_(0.1 * gaussian(*parameter.shape, seed=number))
        method.after_step(model.encoder)
    assert not torch.allclose(method.rotation, torch.eye(WIDTH, dtype=torch.float64), atol=1e-3)


def filled(**options: Any) -> tuple[DRTune, Model]:
    method, model = make(**options)
    for number in range(3):
        method.loss(step(model, [0, 1, 1], number))
    return method, model


def test_the_calibrated_rows_are_constants_to_the_gradient() -> None:
    method, model = filled()
    method.eval()  # so that the queue stays
    now = step(model, [0, 2, 1])
    found = torch.autograd.grad(method.loss(now).total, [now.features, method.classifier.weight], retain_graph=True)
    constant = now.features.norm(dim=1).mean() * calibrate(
        method.pretrained_queue, method.tuned_queue, method.label_queue, method.rotation, method.classifier.weight
    )
    logits = method.classifier(torch.cat([now.features, constant.detach()]))
    total = torch.nn.functional.cross_entropy(logits, torch.cat([now.labels, method.label_queue]))
    expected = torch.autograd.grad(total, [now.features, method.classifier.weight])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_pre_trained_encoder_stays_and_asks_for_no_gradient() -> None:
    method, model = filled()
    assert method.pretrained is not None
    before = {key: value.clone() for key, value in method.pretrained.state_dict().items()}
    statistics = model.encoder.norm.running_mean.clone()
    now = step(model, [0, 1])
    after_encoding = model.encoder.norm.running_mean.clone()
    method.loss(now).total.backward()
    assert not torch.equal(statistics, after_encoding)
    assert torch.equal(model.encoder.norm.running_mean, after_encoding)
    assert all(torch.equal(value, before[key]) for key, value in method.pretrained.state_dict().items())
    trained = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert trained == {"classifier.weight", "classifier.bias"}


def test_the_first_loss_is_the_batchs_share_of_cross_entropy_and_evaluation_leaves_the_queue_alone() -> None:
    method, model = make()
    now = step(model, [0, 1, 2])
    expected = 3 / 10 * torch.nn.functional.cross_entropy(method.classifier(now.features), now.labels)
    method.eval()
    torch.testing.assert_close(method.loss(now).total, expected)
    assert method.loss(now).terms["regularisation"].item() == 0
    method.train()
    torch.testing.assert_close(method.loss(now).total, expected)
    assert method.label_queue.tolist() == [0, 1, 2, EMPTY, EMPTY, EMPTY, EMPTY]
    assert method.loss(now).terms["regularisation"].item() > 0


def test_the_backbone_learns_at_one_pace_however_full_the_queue_is() -> None:
    """The gradient of the live features is n / (n + K) of cross-entropy's from the first step on."""
    method, model = make(queue=9)
    for number in range(5):
        now = step(model, [0, 1, 2], number)
        plain = torch.nn.functional.cross_entropy(method.classifier(now.features), now.labels)
        (expected,) = torch.autograd.grad(plain, now.features, retain_graph=True)
        (found,) = torch.autograd.grad(method.loss(now).total, now.features)
        torch.testing.assert_close(found, 3 / 12 * expected, rtol=0, atol=1e-12)


def test_the_rotation_comes_on_time_also_after_a_resume() -> None:
    method, model = filled(rotation_every=3)
    identity = method.rotation.clone()
    method.after_step(model.encoder)
    method.after_step(model.encoder)
    assert torch.equal(method.rotation, identity)
    resumed, _ = make(rotation_every=3)
    resumed.load_state_dict(method.state_dict())
    for one in (method, resumed):
        one.after_step(model.encoder)
        assert not torch.equal(one.rotation, identity)
    assert torch.equal(method.rotation, resumed.rotation)
    method.after_step(model.encoder)
    assert torch.equal(method.rotation, resumed.rotation)


def test_it_needs_the_pre_trained_encoder() -> None:
    method = DRTune(DRTuneParameters(), features=2, classes=2)
    with pytest.raises(RuntimeError, match=r"before DRTune\.prepare"):
        method.loss(Step(torch.zeros(1, 2), torch.tensor([0]), (), None, torch.Generator(), 0, 0.0))


@pytest.mark.parametrize("bad", [{"queue": 0}, {"queue": 1.5}, {"rotation_every": 0}, {"rotation_every": None}])
def test_bad_parameters_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        DRTuneParameters(**bad)
