"""The classification task on real digits: it learns, it evaluates every image once, and batches do not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.training import (
    catalog,
    context,
    digits_fingerprint,
    digits_spec,
    reports,
    toy_dataset,
    toy_parts,
    toy_spec,
)

from coretune.data.augment import to_float
from coretune.data.dataset import Dataset, open_dataset
from coretune.data.roots import cache_root
from coretune.nets.model import Model
from coretune.nets.small_resnet import SmallResNet
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.components import NoParameters
from coretune.tuning.classification import ClassificationTask, evaluate_classification
from coretune.tuning.loop import Parts, train
from coretune.tuning.methods.cross_entropy import CrossEntropy

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset(catalog(), digits_spec().data.replace(labels_per_class=20), None, cache_root())


def test_it_learns_real_digits(digits: Dataset) -> None:
    assert digits_fingerprint() == digits.packed.fingerprint
    torch.manual_seed(0)
    encoder = SmallResNet(SmallResNetParameters(widths=(8, 16)))
    method = CrossEntropy(NoParameters(), features=16, classes=10)
    spec = digits_spec(epochs=6, batch=20, contrast_batch=20, lr=0.1)
    model = Model(encoder, method.classifier)
    training = train(Parts(ClassificationTask(digits, spec, 1), model, method, spec.train, 0), context())
    found = reports(training)
    assert found[-1].metrics["top1"] > 50
    assert found[-1].train["loss"] < 0.7 * found[0].train["loss"]


@pytest.mark.parametrize("size", [1, 5, 256])
def test_evaluation_is_over_the_given_images_whatever_the_batch(digits: Dataset, size: int) -> None:
    torch.manual_seed(1)
    model = Model(SmallResNet(SmallResNetParameters(widths=(4,))), torch.nn.Linear(4, 10)).eval()
    indices = digits.split.validation[:23]
    found = evaluate_classification(model, digits.packed, indices, context(evaluation_batch=size))
    with torch.no_grad():
        logits = model(to_float(torch.from_numpy(np.asarray(digits.packed.images[indices]))))
    labels = torch.from_numpy(digits.packed.labels[indices])
    assert found["top1"] == pytest.approx(100 * float((logits.argmax(1) == labels).double().mean()))
    assert found["cross_entropy"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_only_labelled_images_are_trained_on_and_only_validation_images_are_judged() -> None:
    data = toy_dataset(labelled=10, unlabelled=10, validation=6)
    parts = toy_parts(toy_spec("ce"), data)
    batches = list(parts.task.batches(0, 0, context()))
    assert {int(i) for batch in batches for i in batch.index} == set(data.split.labelled.tolist())
    changed = data.packed.images.copy()
    changed[data.split.train] = 0
    blank = Dataset(data.packed.__class__(**{**data.packed.__dict__, "images": changed}), data.split)
    parts.model.eval()
    again = ClassificationTask(blank, toy_spec("ce"), 1)
    assert again.evaluate(parts.model, context()) == parts.task.evaluate(parts.model, context())


def test_an_empty_part_cannot_be_judged() -> None:
    data = toy_dataset()
    with pytest.raises(ValueError, match="no sample"):
        evaluate_classification(toy_parts(toy_spec("ce")).model, data.packed, data.split.test, context())


@pytest.mark.parametrize(
    ("metric", "direction"), [("top1", "max"), ("mean_per_class", "max"), ("cross_entropy", "min")]
)
def test_the_best_epoch_is_told_by_the_runs_own_metric(digits: Dataset, metric: str, direction: str) -> None:
    spec = digits_spec(epochs=8, lr=0.3).replace(best_by=metric)
    parts = toy_parts(toy_spec(epochs=8, lr=0.3).replace(best_by=metric))
    assert ClassificationTask(digits, spec, 1).objective == (metric, direction)
    training = train(parts, context())
    values = [report.metrics[metric] for report in reports(training)]
    assert training.best is not None
    assert training.best.metrics[metric] == (max(values) if direction == "max" else min(values))
    assert training.best.epoch == values.index(training.best.metrics[metric]) + 1
