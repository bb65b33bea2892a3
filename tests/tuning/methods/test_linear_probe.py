"""The linear probe: the backbone stays as it is, and the classifier is fitted to its features at rest."""

from __future__ import annotations

import math

import pytest
import torch
from support.training import catalog, context, reports, tensors_of, toy_parts, toy_spec
from torch import nn

from coretune.spec.components import NoParameters
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.loop import train
from coretune.tuning.methods.linear_probe import LinearProbe
from coretune.tuning.task import Moment

torch.set_num_threads(1)


def test_the_backbone_never_changes() -> None:
    parts = toy_parts(toy_spec("linear_probe", weight_decay=0.1, momentum=0.9), dropout=0.3)
    before = tensors_of(parts)
    reports(train(parts, context()))
    changed = {name for name, value in tensors_of(parts).items() if not torch.equal(value, before[name])}
    assert changed == {f"{module}classifier.{part}" for module in ("", "method.") for part in ("weight", "bias")}


def test_the_loss_is_cross_entropy_on_features_at_rest() -> None:
    parts = toy_parts(toy_spec("linear_probe", batch=6, contrast_batch=6), dropout=0.3, dtype=torch.float64)
    parts.model.encoder.norm.running_mean.fill_(0.1)
    batch = next(iter(parts.task.batches(0, 0, context())))
    images = batch.views[0].double()
    batch = type(batch)((images,), batch.labels, batch.index)
    with torch.no_grad():
        logits = parts.model.eval()(images).tolist()
    expected = 0.0
    for row, label in zip(logits, batch.labels.tolist(), strict=True):
        expected -= math.log(math.exp(row[label]) / sum(math.exp(value) for value in row)) / len(logits)
    parts.model.train()
    moment = Moment(seed=1, epoch=0, step=0, progress=0.99)
    loss = contrast_loss(parts.model, batch, parts.method, parts.train, moment, context())
    assert loss.total.item() == pytest.approx(expected, abs=1e-10)
    assert parts.model.encoder.norm.training, "its mode is put back"


def test_the_classifier_alone_is_in_the_optimiser_at_ten_times_the_rate() -> None:
    recipe = catalog().get("method", "linear_probe").train
    parts = toy_parts(toy_spec("linear_probe", lr=0.02, **recipe))
    groups = train(parts, context())._optimizer.param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in parts.method.parameters()}
    assert [group["lr"] for group in groups] == pytest.approx([0.2])


def test_wrong_number_of_classes() -> None:
    with pytest.raises(ValueError, match=r"classes: got 0, need an integer >= 1"):
        LinearProbe(NoParameters(), features=4, classes=0)


def test_an_encoder_of_any_kind_is_frozen() -> None:
    encoder = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    method = LinearProbe(NoParameters(), features=4, classes=3)
    method.prepare(encoder)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert all(parameter.requires_grad for parameter in method.parameters())
    assert method.frozen(0.0) and method.frozen(0.999)
