"""CutMix: what is encoded, what the labels are, and the loss of both."""

from __future__ import annotations

import math

import pytest
import torch
from support.training import context, toy_parts, toy_spec

from coretune.spec.catalog.methods.mixing import CutMixParameters
from coretune.spec.seeds import derive_seed
from coretune.tuning.batch_cutmix import batch_cutmix
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.method import Step
from coretune.tuning.methods.cutmix import CutMix
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)
CLASSES = 3
MOMENT = Moment(seed=7, epoch=1, step=2, progress=0.5)


def make(**params: float) -> CutMix:
    torch.manual_seed(0)
    return CutMix(CutMixParameters.model_validate(params), features=6, classes=CLASSES)


@pytest.mark.parametrize("contrast_batch", [4, 12])
@pytest.mark.parametrize("micro_batch", [None, 4])
def test_the_loss_of_a_batch_equals_the_definition(contrast_batch: int, micro_batch: int | None) -> None:
    """Each contrast batch cut by its own rectangle and order, then CE with loops."""
    spec = toy_spec("cutmix", params={"alpha": 0.7}, batch=12, contrast_batch=contrast_batch)
    parts = toy_parts(spec, dtype=torch.float64)
    images = torch.rand(12, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(12) % CLASSES
    reference = toy_parts(spec, dtype=torch.float64).model.train()
    expected, weights = 0.0, set()
    for number in range(12 // contrast_batch):
        draws = torch.Generator().manual_seed(derive_seed(7, "method", 1, 2, number))
        own, classes = images.split(contrast_batch)[number], labels.split(contrast_batch)[number]
        mixtures = batch_cutmix(own, classes, CLASSES, alpha=0.7, generator=draws)
        weights.add(float(mixtures.mix))
        for row, target in zip(reference(mixtures.values).tolist(), mixtures.targets.tolist(), strict=True):
            mass = sum(math.exp(value) for value in row)
            expected -= sum(t * math.log(math.exp(v) / mass) for t, v in zip(target, row, strict=True)) / 12
    parts.model.train()
    batch = Batch((images,), labels, torch.arange(12))
    loss = contrast_loss(parts.model, batch, parts.method, parts.train, MOMENT, context(micro_batch=micro_batch))
    assert loss.total.item() == pytest.approx(expected, abs=1e-10)
    assert loss.terms["cross_entropy"].item() == pytest.approx(expected, abs=1e-10)
    assert len(weights) == 12 // contrast_batch, "one rectangle for each contrast batch"


def test_nothing_is_cut_with_probability_nought() -> None:
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % CLASSES
    mixed, targets = make(probability=0.0).mix(images, labels, torch.Generator().manual_seed(1))
    assert torch.equal(mixed, images)
    assert torch.equal(targets, torch.eye(CLASSES)[labels])


def test_parameters_are_passed_on() -> None:
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % CLASSES
    mixed, targets = make(alpha=0.3, probability=0.9).mix(images, labels, torch.Generator().manual_seed(3))
    draws = torch.Generator().manual_seed(3)
    expected = batch_cutmix(images, labels, CLASSES, alpha=0.3, probability=0.9, generator=draws)
    assert torch.equal(mixed, expected.values) and torch.equal(targets, expected.targets)
    assert 0 < float(expected.mix) < 1


def test_a_step_whose_images_were_not_mixed_is_refused() -> None:
    step = Step(torch.randn(2, 6), torch.tensor([0, 1]), (), None, torch.Generator(), epoch=0, progress=0.0)
    with pytest.raises(RuntimeError, match=r"CutMix.loss of a step without targets: its images did not go through mix"):
        make().loss(step)
