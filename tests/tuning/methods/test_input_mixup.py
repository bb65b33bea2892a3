"""Mixup of images: what is encoded, what the labels are, and the loss of both."""

from __future__ import annotations

import math

import pytest
import torch
from support.training import context, toy_parts, toy_spec
from torch import Tensor

from coretune.spec.catalog.methods.mixing import InputMixupParameters
from coretune.spec.seeds import derive_seed
from coretune.tuning.beta import draw_beta
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.method import Step
from coretune.tuning.methods.input_mixup import InputMixup
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)
CLASSES = 3
MOMENT = Moment(seed=7, epoch=1, step=2, progress=0.5)


def make(alpha: float = 1.0) -> InputMixup:
    torch.manual_seed(0)
    return InputMixup(InputMixupParameters(alpha=alpha), features=6, classes=CLASSES)


def step(features: Tensor, labels: Tensor, targets: Tensor | None) -> Step:
    return Step(features, labels, (), None, torch.Generator(), epoch=0, progress=0.0, targets=targets)


@pytest.mark.parametrize("contrast_batch", [4, 12])
@pytest.mark.parametrize("micro_batch", [None, 4])
def test_the_loss_of_a_batch_equals_the_definition(contrast_batch: int, micro_batch: int | None) -> None:
    """Images mixed one by one, each contrast batch by its own weight and order, then CE with loops."""
    spec = toy_spec("input_mixup", params={"alpha": 0.7}, batch=12, contrast_batch=contrast_batch)
    parts = toy_parts(spec, dtype=torch.float64)
    images = torch.rand(12, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(12) % CLASSES
    batch = Batch((images,), labels, torch.arange(12))
    reference = toy_parts(spec, dtype=torch.float64).model.train()
    expected, weights = 0.0, set()
    for number in range(12 // contrast_batch):
        draws = torch.Generator().manual_seed(derive_seed(7, "method", 1, 2, number))
        mix = float(draw_beta(0.7, (), draws))
        order = torch.randperm(contrast_batch, generator=draws).tolist()
        weights.add(mix)
        own, classes = images.split(contrast_batch)[number], labels.split(contrast_batch)[number].tolist()
        mixed = torch.stack([mix * own[i] + (1 - mix) * own[j] for i, j in enumerate(order)])
        for i, row in enumerate(reference(mixed).tolist()):
            mass = sum(math.exp(value) for value in row)
            for c, value in enumerate(row):
                share = mix * (classes[i] == c) + (1 - mix) * (classes[order[i]] == c)
                expected -= share * math.log(math.exp(value) / mass) / 12
    parts.model.train()
    loss = contrast_loss(parts.model, batch, parts.method, parts.train, MOMENT, context(micro_batch=micro_batch))
    assert loss.total.item() == pytest.approx(expected, abs=1e-10)
    assert loss.terms["cross_entropy"].item() == pytest.approx(expected, abs=1e-10)
    assert len(weights) == 12 // contrast_batch, "one weight for each contrast batch"


def test_mixed_images_stay_in_range_and_the_originals_as_they_were() -> None:
    images = torch.rand(6, 3, 4, 4)
    before = images.clone()
    mixed, targets = make().mix(images, torch.arange(6) % CLASSES, torch.Generator().manual_seed(1))
    assert mixed.shape == images.shape and mixed.dtype == images.dtype
    assert mixed.min() >= images.min() and mixed.max() <= images.max()
    assert torch.equal(images, before)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))


def test_gradient() -> None:
    method = make().double()
    features = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(5, CLASSES, dtype=torch.float64).softmax(dim=1)
    labels = torch.zeros(5, dtype=torch.int64)
    assert torch.autograd.gradcheck(lambda x: method.loss(step(x, labels, targets)).total, (features,))


def test_a_tiny_alpha_is_cross_entropy_on_whole_images() -> None:
    method = make(1e-6)
    images, labels = torch.rand(6, 3, 4, 4), torch.arange(6) % CLASSES
    mixed, targets = method.mix(images, labels, torch.Generator().manual_seed(1))
    for image, target in zip(mixed, targets, strict=True):
        (i,) = (k for k in range(6) if torch.equal(images[k], image))
        assert target.tolist() == [float(c == labels[i]) for c in range(CLASSES)]


def test_loss_is_float32_under_autocast() -> None:
    targets = torch.eye(CLASSES)[:2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = make().loss(step(torch.randn(2, 6), torch.tensor([0, 1]), targets))
    assert loss.total.dtype == torch.float32 and not loss.terms["cross_entropy"].requires_grad


def test_a_step_whose_images_were_not_mixed_is_refused() -> None:
    with pytest.raises(RuntimeError, match="did not go through mix"):
        make().loss(step(torch.randn(2, 6), torch.tensor([0, 1]), None))
