from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from coretune.data.mask_dataset import MaskDataset
from coretune.errors import RequestError
from coretune.segment.metrics import ConfusionMatrix
from coretune.segment.task import SegmentationTask
from coretune.spec.run import RunSpec
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Parts, Training, train
from coretune.tuning.shard import Shard

CONTEXT = Context(device=torch.device("cpu"), tick_s=0.0)


def finished(parts: Parts, state: dict[str, object] | None = None) -> Training:
    training = train(parts, CONTEXT, state)
    for _ in training:
        pass
    return training


@pytest.mark.parametrize("method", ["ce", "core_tuning"])
def test_a_resume_goes_on_exactly(make_parts: Callable[..., Parts], method: str) -> None:
    whole = finished(make_parts(method))
    broken = train(make_parts(method), CONTEXT)
    for _ in range(3):  # in the middle of the second epoch
        next(broken)
    state = broken.state()
    broken.close()
    resumed = finished(make_parts(method), state)
    assert [report.metrics for report in resumed.history] == [report.metrics for report in whole.history]
    for one, other in zip(resumed.state()["method"].values(), whole.state()["method"].values(), strict=True):
        assert torch.equal(one, other)
    assert state["epoch"] == 1 and state["step"] == 1


def test_both_arms_start_from_one_head_and_see_the_same_images(make_parts: Callable[..., Parts]) -> None:
    ce, core = make_parts("ce"), make_parts("core_tuning")
    for one, other in zip(ce.model.parameters(), core.model.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(ce.task.batches(1, 0, CONTEXT), core.task.batches(1, 0, CONTEXT), strict=True):
        assert torch.equal(one.views[0], other.views[0]) and torch.equal(one.labels, other.labels)


def test_batches_are_the_same_whatever_came_before(make_parts: Callable[..., Parts]) -> None:
    task = make_parts().task
    everything = list(task.batches(1, 0, CONTEXT))
    rest = list(task.batches(1, 1, CONTEXT))
    assert task.steps() == 2 and len(rest) == 1
    assert torch.equal(everything[1].views[0], rest[0].views[0]) and torch.equal(everything[1].labels, rest[0].labels)
    assert everything[0].views[0].shape == (4, 3, 32, 32) and everything[0].labels.shape == (4, 32, 32)
    assert sorted(torch.cat([batch.index for batch in everything]).tolist()) == task._indices.tolist()  # type: ignore[attr-defined]


def test_images_and_masks_are_mirrored_together(dataset: MaskDataset, make_spec: Callable[..., RunSpec]) -> None:
    spec = make_spec()
    plain = spec.replace(data=spec.data.replace(augment=spec.data.augment.replace(flip=False)))
    mirrored = 0
    for one, other in zip(
        SegmentationTask(dataset, spec, 1).batches(0, 0, CONTEXT),
        SegmentationTask(dataset, plain, 1).batches(0, 0, CONTEXT),
        strict=True,
    ):
        for image, mask, before, values in zip(one.views[0], one.labels, other.views[0], other.labels, strict=True):
            turned = not torch.equal(image, before)
            mirrored += turned
            assert torch.equal(image, before.flip(2) if turned else before)
            assert torch.equal(mask, values.flip(1) if turned else values)
    assert 0 < mirrored < 8


def test_the_validation_part_is_evaluated_whole(make_parts: Callable[..., Parts], dataset: MaskDataset) -> None:
    parts = make_parts()
    parts.model.eval()
    matrix = ConfusionMatrix(3, CONTEXT.device)
    with torch.no_grad():
        for index in dataset.split.validation:
            image, mask = dataset.packed[int(index)]
            logits = parts.model(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255)
            matrix.update(logits.argmax(dim=1)[0], torch.from_numpy(mask.copy()))
    expected = matrix.compute(dataset.packed.classes)
    assert parts.task.evaluate(parts.model, CONTEXT) == pytest.approx(expected, abs=0.2)
    assert parts.task.objective == ("miou", "max")


def test_the_best_epoch_is_that_of_miou(make_parts: Callable[..., Parts]) -> None:
    training = finished(make_parts())
    assert training.best is not None
    assert training.best.metrics["miou"] == max(report.metrics["miou"] for report in training.history)


def test_a_report_has_the_terms_of_the_loss(make_parts: Callable[..., Parts]) -> None:
    parts = make_parts("core_tuning")
    report = next(event for event in train(parts, CONTEXT) if isinstance(event, EpochReport))
    assert {"loss", "cross_entropy", "auxiliary", "mixtures", "contrastive"} <= set(report.train)
    assert 0 < report.counts["sampled_pixels"] <= 4 * 40  # two contrast batches a step, two steps


def test_class_weights_come_from_the_training_masks(make_parts: Callable[..., Parts], dataset: MaskDataset) -> None:
    task = make_parts(class_weights="median_frequency").task
    counts = np.array(
        [np.bincount(dataset.packed[int(i)][1].ravel(), minlength=256)[:3] for i in dataset.split.labelled]
    )
    frequency = counts.sum(axis=0) / ((counts > 0) * counts.sum(axis=1, keepdims=True)).sum(axis=0)
    assert np.allclose(task._weights.numpy(), np.median(frequency) / frequency)  # type: ignore[attr-defined]
    assert make_parts().task._weights is None  # type: ignore[attr-defined]


def test_batch_norm_keeps_its_statistics_where_it_is_asked_to(make_parts: Callable[..., Parts]) -> None:
    for mode, kept in (("pretrained", True), ("batch", False)):
        parts = make_parts("ce", batch_norm=mode)
        before = parts.model.encoder.norm.running_mean.clone()  # type: ignore[union-attr, operator]
        weight = parts.model.encoder.norm.weight.detach().clone()  # type: ignore[union-attr, operator]
        finished(parts)
        assert torch.equal(parts.model.encoder.norm.running_mean, before) == kept  # type: ignore[union-attr, arg-type]
        assert not torch.equal(parts.model.encoder.norm.weight, weight)  # type: ignore[union-attr, arg-type]


def test_workers_have_their_own_images_and_all_masks(make_parts: Callable[..., Parts]) -> None:
    task = make_parts().task
    whole = list(task.batches(0, 0, CONTEXT))
    shares = [list(task.batches(0, 0, Context(device=torch.device("cpu"), shard=Shard(rank, 3)))) for rank in range(3)]
    for number, batch in enumerate(whole):
        found = [share[number] for share in shares]
        assert all(torch.equal(each.labels, batch.labels) for each in found)
        images = torch.cat([each.views[0] for each in found])
        assert len(images) == 4 and all(any(torch.equal(one, other) for other in images) for one in batch.views[0])


def test_a_pooled_branch_is_not_trained_on_one_image(dataset: MaskDataset, make_spec: Callable[..., RunSpec]) -> None:
    single = replace(dataset, split=replace(dataset.split, labelled=dataset.split.labelled[:1]))
    with pytest.raises(
        RequestError, match=r"deeplabv3 normalises a single value of each image, and there is one image"
    ):
        SegmentationTask(single, make_spec(head="deeplabv3"), 1)
    assert SegmentationTask(single, make_spec(head="fcn"), 1).steps() == 1
