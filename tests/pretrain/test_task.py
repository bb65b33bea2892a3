from __future__ import annotations

import torch
from support.training import context, reports, toy_dataset, toy_parts, toy_spec

from coretune.pretrain.task import PretrainingTask
from coretune.tuning.loop import train

torch.set_num_threads(1)


def test_it_sees_two_views_of_all_training_images_and_nothing_else() -> None:
    data = toy_dataset(labelled=5, unlabelled=8, validation=6)
    task = PretrainingTask(data, toy_spec("moco_v2"), views=2)
    assert task.steps() == 2
    batches = list(task.batches(0, 0, context()))
    assert sorted(int(i) for batch in batches for i in batch.index) == data.split.train.tolist()
    assert all(len(batch.views) == 2 for batch in batches)


def test_its_reports_have_the_loss_and_no_metric() -> None:
    parts = toy_parts(toy_spec("moco_v2", params={"queue": 16}))
    assert parts.task.objective is None
    training = train(parts, context())
    found = reports(training)
    assert training.best is None
    assert all(report.metrics == {} for report in found)
    assert all(set(report.train) == {"loss", "contrastive"} for report in found)


def test_labels_do_not_matter() -> None:
    weights = []
    for shift in (0, 1):
        data = toy_dataset()
        data.packed.labels[:] = (data.packed.labels + shift) % 3
        parts = toy_parts(toy_spec("moco_v2", params={"queue": 16}), data)
        reports(train(parts, context()))
        weights.append(parts.model.encoder.conv.weight)
    assert torch.equal(*weights)
