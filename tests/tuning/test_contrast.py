"""The loss of a batch: its contrast batches, their weights, their generators; micro-batches change nothing."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import CLASSES, context, toy_dataset, toy_method, toy_parts, toy_spec
from torch import Tensor, nn

from coretune.spec.components import NoParameters
from coretune.spec.run import TrainSpec
from coretune.spec.seeds import derive_seed
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.contrast import contrast_loss, group_order
from coretune.tuning.loop import Parts
from coretune.tuning.method import LossTerms, Method, Step
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)
MOMENT = Moment(seed=7, epoch=1, step=2, progress=0.5)


class Spy(Method):
    """Mean of the features, and a note of every step it sees."""

    def __init__(self) -> None:
        super().__init__(NoParameters(), features=6, classes=CLASSES)
        self.steps: list[Step] = []

    def loss(self, step: Step) -> LossTerms:
        self.steps.append(step)
        step.features.mul_(1.0)  # a method may work in place
        total = step.features.mean()
        return LossTerms(total, {"mean": total.detach()}, {"seen": torch.tensor(len(step.labels))})


def batch_of(parts: Parts, epoch: int = 0) -> Batch:
    return next(iter(parts.task.batches(epoch, 0, context())))


def double_batch(n: int, views: int = 1) -> Batch:
    draws = torch.Generator().manual_seed(n)
    images = tuple(torch.rand(n, 3, 4, 4, dtype=torch.float64, generator=draws) for _ in range(views))
    return Batch(images, torch.arange(n) % CLASSES, torch.arange(n), torch.arange(n) * 5 % 3)


@settings(max_examples=25)
@given(n=st.integers(2, 17), contrast_batch=st.integers(1, 20), bn_group=st.none() | st.integers(2, 20))
def test_a_batch_is_the_weighted_mean_of_its_contrast_batches(
    n: int, contrast_batch: int, bn_group: int | None
) -> None:
    recipe = TrainSpec(batch=contrast_batch * n, contrast_batch=contrast_batch, bn_group=bn_group)
    parts = toy_parts(toy_spec("ce"), dtype=torch.float64)
    spy, batch = Spy(), double_batch(n)
    loss = contrast_loss(parts.model, batch, spy, recipe, MOMENT, context())
    sizes = [len(step.labels) for step in spy.steps]
    assert sizes == chunk_sizes(n, contrast_batch)
    assert torch.cat([step.labels for step in spy.steps]).equal(batch.labels)
    assert torch.cat([step.domain for step in spy.steps if step.domain is not None]).equal(torch.arange(n) * 5 % 3)
    assert torch.cat([step.views[0] for step in spy.steps]).equal(batch.views[0])
    expected = torch.cat([step.features for step in spy.steps]).mean()
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-12)
    assert loss.terms["mean"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert not loss.terms["mean"].requires_grad
    assert int(loss.counts["seen"]) == n


class Regrouping(Spy):
    """Encodes both views again, in groups of their own."""

    views = 2
    regroups = True

    def loss(self, step: Step) -> LossTerms:
        self.found = [*getattr(self, "found", []), step.encode_in_groups(step.views[1])]
        return super().loss(step)


def regrouped(n: int, recipe: TrainSpec, parts: Parts, moment: Moment = MOMENT) -> Regrouping:
    spy = Regrouping()
    contrast_loss(parts.model, double_batch(n, 2), spy, recipe, moment, context())
    return spy


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 17), contrast_batch=st.integers(3, 20), bn_group=st.integers(2, 19))
def test_groups_of_their_own_are_of_shuffled_samples(n: int, contrast_batch: int, bn_group: int) -> None:
    recipe = TrainSpec(batch=contrast_batch * n, contrast_batch=contrast_batch, bn_group=bn_group)
    parts = toy_parts(toy_spec("ce"), dtype=torch.float64)
    parts.model.train()
    by_hand = copy.deepcopy(parts.model)
    spy = regrouped(n, recipe, parts)
    by_hand.features(double_batch(n).views[0])  # as often as the features themselves: one group or several
    for number, (step, found) in enumerate(zip(spy.steps, spy.found, strict=True)):
        size = len(step.labels)
        if bn_group >= contrast_batch:
            assert step.regroup is None
            order, groups = np.arange(size), [size]
        else:
            order, groups = group_order(MOMENT, number, size), chunk_sizes(size, bn_group)
        expected = torch.empty_like(found)
        for members in np.split(order, np.cumsum(groups)[:-1]):
            expected[members] = by_hand.features(step.views[1][members])
        torch.testing.assert_close(found, expected)


def test_groups_have_no_meaning_in_evaluation_mode_and_are_given_back_in_order() -> None:
    parts = toy_parts(toy_spec("ce"), dtype=torch.float64)
    parts.model.eval()
    spy = regrouped(11, TrainSpec(batch=11, contrast_batch=11, bn_group=3), parts)
    torch.testing.assert_close(spy.found[0], parts.model.features(spy.steps[0].views[1]))


def test_order_of_groups_depends_on_seed_epoch_step_and_contrast_batch() -> None:
    moments = [Moment(seed, epoch, step, 0.5) for seed in (0, 1) for epoch in (0, 1) for step in (0, 1)]
    orders = [tuple(group_order(moment, number, 32)) for moment in moments for number in (0, 1)]
    assert len(set(orders)) == 16
    assert all(sorted(order) == list(range(32)) for order in orders)
    later = dataclasses.replace(moments[0], progress=0.9)
    assert tuple(group_order(later, 0, 32)) == orders[0]


def test_without_smaller_groups_a_pretraining_is_what_it_was_to_the_bit() -> None:
    found = []
    for bn_group in (None, 4, 6):
        parts = toy_parts(toy_spec("moco_v2", params={"queue": 16}, contrast_batch=4, bn_group=bn_group))
        parts.model.train()
        images = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        batch = Batch(tuple(images.unbind()), torch.zeros(4).long(), torch.arange(4))
        contrast_loss(parts.model, batch, parts.method, parts.train, MOMENT, context())
        found.append(parts.method.queue.clone())
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_each_contrast_batch_has_a_generator_of_its_own() -> None:
    draws = {}
    for epoch in (0, 1):
        for number in (0, 1):
            spy = Spy()
            moment = Moment(seed=7, epoch=epoch, step=number, progress=0.0)
            recipe = TrainSpec(batch=8, contrast_batch=4)
            contrast_loss(
                toy_parts(toy_spec("ce")).model, batch_of(toy_parts(toy_spec("ce"))), spy, recipe, moment, context()
            )
            for part, step in enumerate(spy.steps):
                draws[epoch, number, part] = torch.rand(3, generator=step.generator).tolist()
    assert len({tuple(found) for found in draws.values()}) == len(draws) == 8


def test_methods_draws_do_not_shift_batches() -> None:
    parts = toy_parts(toy_spec("core_tuning"))
    before = [batch.views[0].clone() for batch in parts.task.batches(1, 0, context())]
    batches = parts.task.batches(1, 0, context())
    for expected in before:
        batch = next(batches)
        assert torch.equal(batch.views[0], expected)
        parts.task.loss(parts.model, batch, parts.method, MOMENT, context())


def gradients(parts: Parts, batch: Batch, micro_batch: int | None) -> tuple[LossTerms, dict[str, Tensor]]:
    loss = contrast_loss(parts.model, batch, parts.method, parts.train, MOMENT, context(micro_batch=micro_batch))
    loss.total.backward()
    modules = nn.ModuleDict({"encoder": parts.model.encoder, "method": parts.method})
    return loss, {name: p.grad for name, p in modules.named_parameters() if p.grad is not None}


CASES: list[tuple[str, dict[str, Any]]] = [
    ("ce", {"batch": 12, "contrast_batch": 4}),
    ("core_tuning", {"batch": 12, "contrast_batch": 4, "bn_group": 2}),
    ("core_tuning", {"batch": 12, "contrast_batch": 4, "bn_group": 8}),
    ("core_tuning", {"batch": 12, "contrast_batch": 12, "bn_group": 5}),
    ("moco_v2", {"batch": 12, "contrast_batch": 4, "bn_group": 2}),
]


@pytest.mark.parametrize("n", [12, 11, 7])
@pytest.mark.parametrize("micro_batch", [1, 4, 6])
@pytest.mark.parametrize(("method", "recipe"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_a_micro_batch_gives_the_same_loss_gradient_and_statistics(
    method: str, recipe: dict[str, Any], micro_batch: int, n: int
) -> None:
    spec = toy_spec(method, params={"queue": 16} if method == "moco_v2" else None, **recipe)
    results = []
    for size in (None, micro_batch):
        parts = toy_parts(spec, dtype=torch.float64)
        loss, found = gradients(parts, double_batch(n, views=2), size)
        buffers = dict(parts.model.named_buffers()) | {f"method.{k}": v for k, v in parts.method.named_buffers()}
        results.append((loss, found, buffers))
    (loss, found, buffers), (micro_loss, micro_found, micro_buffers) = results
    assert micro_loss.total.item() == pytest.approx(loss.total.item(), rel=1e-12)
    assert micro_found.keys() == found.keys() != set()
    for name, gradient in found.items():
        torch.testing.assert_close(micro_found[name], gradient, rtol=1e-6, atol=1e-9)
    for name, buffer in buffers.items():
        torch.testing.assert_close(micro_buffers[name], buffer, rtol=0, atol=1e-12)


def test_statistics_are_updated_once_per_group() -> None:
    parts = toy_parts(toy_spec("ce", batch=12, contrast_batch=6, bn_group=3), dtype=torch.float64)
    gradients(parts, double_batch(12), 3)
    assert int(parts.model.encoder.norm.num_batches_tracked) == 4


def test_a_single_sample_trains() -> None:
    parts = toy_parts(toy_spec("core_tuning", batch=1, contrast_batch=1), toy_dataset(labelled=1))
    loss = parts.task.loss(parts.model, batch_of(parts), parts.method, MOMENT, context())
    assert torch.isfinite(loss.total)


def test_a_labelled_set_smaller_than_the_batch_is_one_batch() -> None:
    parts = toy_parts(toy_spec("ce", batch=64, contrast_batch=64), toy_dataset(labelled=7))
    assert parts.task.steps() == 1
    assert len(batch_of(parts).labels) == 7


def test_methods_of_one_seed_draw_the_same_classifier() -> None:
    from support.training import TinyNet

    found = []
    for name, params in (("ce", {}), ("core_tuning", {}), ("core_tuning", {"classifier_bias": False})):
        torch.manual_seed(3)
        method = toy_method(toy_spec(name, params=params), TinyNet())
        assert isinstance(method.classifier, nn.Linear)
        found.append(method.classifier.weight)
    # The encoder was drawn first, from the same stream here.
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


class Mixer(Spy):
    """Darkens the images by a draw of its own, and says so in soft labels."""

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        share = torch.rand((), generator=generator, dtype=images.dtype)
        return images * share, share * torch.ones(len(labels), CLASSES)


@pytest.mark.parametrize("contrast_batch", [4, 12])
def test_mixed_images_are_encoded_in_place_of_the_images(contrast_batch: int) -> None:
    parts, mixer, batch = toy_parts(toy_spec("ce"), dtype=torch.float64), Mixer(), double_batch(12)
    recipe = TrainSpec(batch=12, contrast_batch=contrast_batch)
    contrast_loss(parts.model, batch, mixer, recipe, MOMENT, context())
    shares = []
    for step, views in zip(mixer.steps, batch.views[0].split(contrast_batch), strict=True):
        assert step.targets is not None
        share = step.targets[0, 0]
        fresh = toy_parts(toy_spec("ce"), dtype=torch.float64)
        torch.testing.assert_close(step.features, fresh.model.features(views * share))
        assert torch.equal(step.views[0], views), "the method still sees the images as they were"
        shares.append(float(share))
    assert len(set(shares)) == len(shares)


class Drawing(Mixer):
    views = 2

    def loss(self, step: Step) -> LossTerms:
        self.drawn = torch.rand(2, generator=step.generator).tolist()
        return super().loss(step)


def test_the_loss_draws_on_where_mixing_stopped_and_sees_the_other_views() -> None:
    parts, drawing, batch = toy_parts(toy_spec("ce"), dtype=torch.float64), Drawing(), double_batch(6, views=2)
    contrast_loss(parts.model, batch, drawing, TrainSpec(batch=6, contrast_batch=6), MOMENT, context())
    fresh = torch.Generator().manual_seed(derive_seed(MOMENT.seed, "method", MOMENT.epoch, MOMENT.step, 0))
    torch.rand((), generator=fresh, dtype=torch.float64)
    assert drawing.drawn == torch.rand(2, generator=fresh).tolist()
    assert all(torch.equal(*pair) for pair in zip(drawing.steps[0].views, batch.views, strict=True))


def test_without_mixing_there_are_no_soft_labels() -> None:
    parts, spy = toy_parts(toy_spec("ce"), dtype=torch.float64), Spy()
    contrast_loss(parts.model, double_batch(8), spy, TrainSpec(batch=8, contrast_batch=4), MOMENT, context())
    assert [step.targets for step in spy.steps] == [None, None]


class Resting(Spy):
    def frozen(self, progress: float) -> bool:
        return progress < 0.6


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_a_resting_backbone_has_no_gradient_and_keeps_its_statistics(micro_batch: int | None) -> None:
    parts, resting, batch = toy_parts(toy_spec("ce"), dtype=torch.float64), Resting(), double_batch(6)
    parts.model.train()
    before = [buffer.clone() for buffer in parts.model.buffers()]
    recipe, at = TrainSpec(batch=6, contrast_batch=6), context(micro_batch=micro_batch)
    contrast_loss(parts.model, batch, resting, recipe, MOMENT, at)
    (step,) = resting.steps
    assert not step.features.requires_grad
    again = step.encode(batch.views[0])
    assert not again.requires_grad
    torch.testing.assert_close(again, step.features.detach())
    assert all(torch.equal(a, b) for a, b in zip(parts.model.buffers(), before, strict=True))
    assert parts.model.encoder.training, "its mode is put back"
    contrast_loss(parts.model, batch, resting, recipe, Moment(seed=7, epoch=1, step=2, progress=0.6), at)
    assert resting.steps[1].features.requires_grad


class HalfMixer(Mixer):
    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Any:
        return None if int(labels[0]) == 0 else super().mix(images, labels, generator)


def test_a_method_that_mixes_half_of_a_batch_is_told_so() -> None:
    parts, batch = toy_parts(toy_spec("ce"), dtype=torch.float64), double_batch(8)
    with pytest.raises(RuntimeError, match=r"HalfMixer.mix mixed 1 of 2 contrast batches"):
        contrast_loss(parts.model, batch, HalfMixer(), TrainSpec(batch=8, contrast_batch=4), MOMENT, context())
