from __future__ import annotations

import dataclasses

import torch
from support.training import (
    assert_same_tensors,
    context,
    reports,
    tensors_of,
    toy_dataset,
    toy_parts,
    toy_spec,
)

from coretune.pretrain.task import PretrainingTask
from coretune.tuning.loop import train
from coretune.tuning.neighbours import evaluate_neighbours

torch.set_num_threads(1)


def test_it_sees_two_views_of_all_training_images_and_nothing_else() -> None:
    data = toy_dataset(labelled=5, unlabelled=8, validation=6)
    task = PretrainingTask(data, toy_spec("moco_v2"), views=2)
    assert task.steps() == 2
    batches = list(task.batches(0, 0, context()))
    assert sorted(int(i) for batch in batches for i in batch.index) == data.split.train.tolist()
    assert all(len(batch.views) == 2 for batch in batches)


def test_its_reports_have_the_loss_and_what_neighbours_say() -> None:
    data = toy_dataset(labelled=5, unlabelled=15)
    parts = toy_parts(toy_spec("moco_v2", params={"queue": 16}, epochs=5, evaluate_every=2), data)
    assert parts.task.objective is None
    training = train(parts, context())
    found = reports(training)
    assert training.best is None
    assert [report.epoch for report in found] == [2, 4, 5]
    assert all(set(report.train) == {"loss", "contrastive"} for report in found)
    parts.model.eval()
    expected = evaluate_neighbours(
        parts.model, data.packed, data.split.validation, context(), labelled=data.split.train
    )
    assert found[-1].metrics == expected and 0 <= expected["knn_top1"] <= 100


def test_without_classes_there_is_no_figure() -> None:
    data = toy_dataset()
    single = dataclasses.replace(data, packed=dataclasses.replace(data.packed, classes=("a",)))
    parts = toy_parts(toy_spec("moco_v2", params={"queue": 16}), single)
    assert all(report.metrics == {} for report in reports(train(parts, context())))


def test_evaluating_changes_nothing_of_the_training() -> None:
    found = []
    for every in (1, 3):
        parts = toy_parts(toy_spec("moco_v2", params={"queue": 16}, evaluate_every=every))
        reports(train(parts, context()))
        found.append(tensors_of(parts))
    assert_same_tensors(*found)


def test_labels_do_not_matter() -> None:
    weights = []
    for shift in (0, 1):
        data = toy_dataset()
        data.packed.labels[:] = (data.packed.labels + shift) % 3
        parts = toy_parts(toy_spec("moco_v2", params={"queue": 16}), data)
        reports(train(parts, context()))
        weights.append(parts.model.encoder.conv.weight)
    assert torch.equal(*weights)
