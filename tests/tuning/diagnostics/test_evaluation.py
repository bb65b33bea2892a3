"""The evaluation `geometry`: from a run's record, on training and on test images, and where nothing can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.training import catalog, context, digits_job, digits_spec, toy_dataset, toy_parts, toy_spec

from coretune.results.store import ResultsStore
from coretune.runs.evaluate import evaluate
from coretune.runs.execute import Execution
from coretune.spec.catalog.evaluations import GeometryParameters
from coretune.spec.run import EvalSpec
from coretune.tuning.diagnostics import diagnose_features, pool_features
from coretune.tuning.diagnostics.evaluation import evaluate_geometry

torch.set_num_threads(1)


def geometry(split: str = "test", **params: float) -> EvalSpec:
    return EvalSpec(evaluation=catalog().ref("evaluation", "geometry", params), split=split)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_is_evaluated_on_training_and_test_images(tmp_path: Path, precision: str) -> None:
    train, test = geometry("labelled"), geometry("test", per_class=3, temperature=0.5)
    job = digits_job(digits_spec("core_tuning", precision=precision), evaluations=(train, test), keep_weights=True)
    store = ResultsStore(tmp_path)
    execution = Execution(job, store, catalog(), context())
    list(execution)
    assert execution.record is not None and execution.record.status == "completed", execution.record
    on_train = store.evaluation(job.spec.run_id, train.eval_id(job.spec.run_id))
    on_test = store.evaluation(job.spec.run_id, test.eval_id(job.spec.run_id))
    assert on_train is not None and on_test is not None
    assert (on_train.metrics["samples"], on_train.metrics["classes"]) == (20.0, 10.0)
    assert (on_test.metrics["samples"], on_test.metrics["classes"]) == (30.0, 10.0)
    assert on_test.metrics["nc1"] > 0 and 1 <= on_test.metrics["effective_rank"] <= 8
    assert evaluate(job, test, store, catalog(), context()).metrics == on_test.metrics


def test_it_is_the_diagnosis_of_the_backbone() -> None:
    dataset = toy_dataset(validation=30)
    parts = toy_parts(toy_spec("ce"), dataset)
    params = GeometryParameters(per_class=10, temperature=0.3)
    found = evaluate_geometry(parts.model, dataset.packed, dataset.split.validation, context(), params=params)
    pool = pool_features(parts.model, None, dataset.packed, dataset.split.validation, context())
    weight = parts.model.classifier.weight
    expected = diagnose_features(pool.backbone, pool.labels, weight=weight, logits=pool.logits, temperature=0.3)
    assert found == pytest.approx(expected.metrics())


def test_without_two_images_of_a_class_a_run_does_not_fail() -> None:
    dataset = toy_dataset()
    parts = toy_parts(toy_spec("ce"), dataset)
    for indices in (np.arange(3), np.empty(0, np.int64)):
        found = evaluate_geometry(parts.model, dataset.packed, indices, context(), params=GeometryParameters())
        assert found == {"samples": 0.0, "classes": 0.0}


@pytest.mark.parametrize(
    "values",
    [{"per_class": 1}, {"per_class": 10**9}, {"per_class": 2.5}, {"temperature": 0}, {"temperature": float("nan")}],
)
def test_bad_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        GeometryParameters.model_validate(values)
