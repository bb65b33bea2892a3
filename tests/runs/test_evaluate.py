"""An evaluation from disk is the one in memory, and refuses weights that are for other classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.training import accuracy_evaluation, catalog, context, digits_job, digits_spec

from coretune.data.dataset import Dataset
from coretune.errors import RequestError, StorageError
from coretune.nets.weights import load_weights, save_weights
from coretune.results.store import ResultsStore
from coretune.runs.build import build_parts, open_job_data
from coretune.runs.evaluate import evaluate, evaluate_model, limited
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.runs.trained import load_model
from coretune.spec.components import Catalog, Component, EvaluationComponent, Ref, merge
from coretune.spec.frozen import Frozen
from coretune.tuning.context import Context

torch.set_num_threads(1)

JUDGE = """
import torch
from coretune.tuning.judgement import Judgement

def judge(model, packed, indices, context, *, params, seed):
    assert not model.training and not torch.is_grad_enabled()
    if params.fail:
        raise RuntimeError("the judge fails")
    return {"draw": torch.rand(()), "seed": seed, "images": len(indices), "strength": params.strength}

def judge_at_length(model, packed, indices, context, *, params, seed):
    images = torch.rand(2, 3, 8, 8).requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images)
    found = {"index": indices[:2], "gradients": gradient.permute(0, 2, 3, 1).numpy()}
    return Judgement({"images": len(indices)}, {"precision": str(logits.dtype), "curve": [{"eps": "1/255"}]}, found)
"""

PRECISIONS: tuple[Literal["trained", "fp32"], ...] = ("trained", "fp32")


class JudgeParameters(Frozen):
    strength: float = 1.0
    fail: bool = False


@pytest.fixture
def judging(tmp_path: Path) -> Catalog:
    """A catalog with an evaluation that draws, has parameters, and can fail."""
    path = tmp_path / "judge.py"
    path.write_text(JUDGE)
    component = Component(
        kind="evaluation",
        name="judge",
        version=1,
        target=f"{path}:judge",
        summary="",
        parameters=JudgeParameters,
    )
    at_length = [
        EvaluationComponent(
            kind="evaluation",
            name=f"at_length_{precision}",
            version=1,
            target=f"{path}:judge_at_length",
            summary="",
            precision=precision,
        )
        for precision in PRECISIONS
    ]
    shipped: Mapping[Any, Mapping[str, Component]] = catalog().components
    return merge([component for found in shipped.values() for component in found.values()], [component, *at_length])


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_job_data(digits_job(), catalog())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, ResultsStore]:
    """A finished run with its weights, of the last and of the best epoch."""
    evaluations = (accuracy_evaluation(), accuracy_evaluation(weights="best"))
    job = digits_job(digits_spec("core_tuning", epochs=3), keep_weights=True, evaluations=evaluations)
    store = ResultsStore(tmp_path_factory.mktemp("results"))
    execution = Execution(job, store, catalog(), context())
    list(execution)
    assert execution.record is not None and execution.record.status == "completed"
    return job, store


@pytest.mark.parametrize("weights", ["last", "best"])
def test_from_disk_is_exactly_as_in_memory(trained: tuple[Job, ResultsStore], tmp_path: Path, weights: str) -> None:
    job, store = trained
    spec = accuracy_evaluation(weights=weights)
    in_memory = store.evaluation(job.spec.run_id, spec.eval_id(job.spec.run_id))
    assert in_memory is not None
    found = evaluate(job, spec, store, catalog(), context())
    assert found.metrics == in_memory.metrics
    assert found.details["images"] == 60
    assert found.details["classes"] == [str(digit) for digit in range(10)]
    assert found.timings["total_s"] > 0
    assert store.evaluation(job.spec.run_id, found.eval_id) == found


def test_validation_metrics_of_the_record_are_those_of_an_evaluation(trained: tuple[Job, ResultsStore]) -> None:
    job, store = trained
    record = store.record(job.spec.run_id)
    assert record is not None
    found = evaluate(job, accuracy_evaluation(split="validation"), store, catalog(), context())
    assert found.metrics == record.metrics["last"]


def test_half_precision_is_evaluated_as_it_was_trained(tmp_path: Path) -> None:
    job = digits_job(digits_spec(precision="bf16", epochs=1), evaluations=(accuracy_evaluation(split="validation"),))
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context())
    list(execution)
    assert execution.record is not None
    (found,) = ResultsStore(tmp_path).evaluations(job.spec.run_id)
    assert found.metrics == execution.record.metrics["last"]


def test_a_limit_draws_a_sample_by_the_seed() -> None:
    test = np.arange(100, 160)
    samples = [limited(test, accuracy_evaluation(limit=7, seed=seed)) for seed in (0, 0, 1)]
    assert len(samples[0]) == 7 and np.all(np.diff(samples[0]) > 0) and set(samples[0]) <= set(test)
    assert np.array_equal(samples[0], samples[1]) and not np.array_equal(samples[0], samples[2])
    for limit in (None, 60, 1000):
        assert np.array_equal(limited(test, accuracy_evaluation(limit=limit)), test)


def test_a_limit_bounds_the_images(trained: tuple[Job, ResultsStore], judging: Catalog, digits: Dataset) -> None:
    job, store = trained
    for limit, images in ((7, 7), (None, 60), (1000, 60)):
        spec = accuracy_evaluation(limit=limit).replace(evaluation=judging.ref("evaluation", "judge"))
        assert evaluate(job, spec, store, judging, context()).metrics["images"] == images


def test_parameters_and_seed_reach_the_evaluation(trained: tuple[Job, ResultsStore], judging: Catalog) -> None:
    job, store = trained
    ref = judging.ref("evaluation", "judge", {"strength": 2.5})
    metrics = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(metrics))
        spec = accuracy_evaluation(seed=seed).replace(evaluation=ref)
        metrics.append(evaluate(job, spec, store, judging, context()).metrics)
    assert metrics[0] == metrics[1]
    assert metrics[0]["strength"] == 2.5
    assert metrics[2]["seed"] == 2
    assert metrics[0]["draw"] != metrics[2]["draw"]


@pytest.mark.parametrize("fail", [False, True])
def test_modes_are_restored_whatever_happens(
    trained: tuple[Job, ResultsStore], judging: Catalog, digits: Dataset, fail: bool
) -> None:
    job, store = trained
    model = load_model(job, "last", digits, store, catalog(), context())
    model.train()
    model.encoder.norm.eval()
    before = [module.training for module in model.modules()]
    spec = accuracy_evaluation().replace(evaluation=judging.ref("evaluation", "judge", {"fail": fail}))
    if fail:
        with pytest.raises(RuntimeError, match="the judge fails"):
            evaluate_model(model, digits, job, spec, store, judging, context())
    else:
        evaluate_model(model, digits, job, spec, store, judging, context())
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()


def test_the_weights_a_run_started_from_are_not_needed(tmp_path: Path, digits: Dataset) -> None:
    store = ResultsStore(tmp_path)
    job = digits_job(digits_spec(weights="run:0123456789abcdef"))
    plain = digits_job(digits_spec())
    parts = build_parts(plain, digits, store, catalog(), context())
    save_weights(parts.model.state_dict(), store.weights_path(job.spec.run_id), {})
    assert evaluate(job, accuracy_evaluation(), store, catalog(), context()).metrics["top1"] >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: names[:-1], "knows 9 classes, the data have 10"),
        (lambda names: [*names[1:], names[0]], "knows class 0 as '1', in the data it is '0'"),
    ],
)
def test_other_classes_are_refused(
    trained: tuple[Job, ResultsStore], tmp_path: Path, change: Any, message: str
) -> None:
    job, store = trained
    state, metadata = load_weights(store.weights_path(job.spec.run_id))
    other = ResultsStore(tmp_path)
    metadata["classes"] = json.dumps(change(json.loads(metadata["classes"])))
    save_weights(state, other.weights_path(job.spec.run_id), metadata)
    with pytest.raises(RequestError, match=message):
        evaluate(job, accuracy_evaluation(), other, catalog(), context())


def test_damaged_absent_and_foreign_weights_are_refused(trained: tuple[Job, ResultsStore], tmp_path: Path) -> None:
    job, store = trained
    other = ResultsStore(tmp_path)
    path = other.weights_path(job.spec.run_id)
    with pytest.raises(StorageError):
        evaluate(job, accuracy_evaluation(), other, catalog(), context())
    path.parent.mkdir(parents=True)
    path.write_bytes(store.weights_path(job.spec.run_id).read_bytes()[:-100])
    with pytest.raises(StorageError):
        evaluate(job, accuracy_evaluation(), other, catalog(), context())
    save_weights({"encoder.conv.weight": torch.zeros(2)}, path, {})
    with pytest.raises(RequestError, match="another architecture"):
        evaluate(job, accuracy_evaluation(), other, catalog(), context())


def test_another_version_of_the_evaluation_is_refused(trained: tuple[Job, ResultsStore]) -> None:
    job, store = trained
    spec = accuracy_evaluation().replace(evaluation=Ref(name="classification", version=9))
    with pytest.raises(RequestError, match="version 9 is asked for"):
        evaluate(job, spec, store, catalog(), context())


def test_details_and_rows_by_image_are_kept_where_they_are_asked_for(
    trained: tuple[Job, ResultsStore], judging: Catalog, tmp_path: Path
) -> None:
    job, store = trained
    spec = accuracy_evaluation().replace(evaluation=judging.ref("evaluation", "at_length_fp32"))
    path = tmp_path / "rows" / "gradients.safetensors"
    without = evaluate(job, spec, store, judging, context())
    assert not path.exists()
    found = evaluate(job, spec, store, judging, context(), arrays_to=path)
    assert found.replace(timings={}, created="") == without.replace(timings={}, created="")
    assert found.details["curve"] == [{"eps": "1/255"}] and found.details["images"] == 60
    assert store.evaluation(job.spec.run_id, found.eval_id) == found
    rows = load_file(path)
    assert rows["gradients"].shape == (2, 8, 8, 3) and rows["gradients"].any()
    assert rows["index"].tolist() == open_job_data(job, catalog()).split.test[:2].tolist()
    _, metadata = load_weights(path)
    assert metadata == {"run_id": job.spec.run_id, "eval_id": found.eval_id}


def test_numbers_alone_leave_no_file(trained: tuple[Job, ResultsStore], tmp_path: Path) -> None:
    job, store = trained
    evaluate(job, accuracy_evaluation(), store, catalog(), context(), arrays_to=tmp_path / "rows.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_evaluation_may_ask_for_full_precision(
    digits: Dataset, judging: Catalog, tmp_path: Path, precision: Literal["trained", "fp32"]
) -> None:
    job = digits_job(digits_spec(precision="bf16"))
    store = ResultsStore(tmp_path)
    model = build_parts(job, digits, store, judging, context()).model
    spec = accuracy_evaluation().replace(evaluation=judging.ref("evaluation", f"at_length_{precision}"))
    found = evaluate_model(model, digits, job, spec, store, judging, context())
    assert found.details["precision"] == ("torch.float32" if precision == "fp32" else "torch.bfloat16")


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu(trained: tuple[Job, ResultsStore]) -> None:
    job, store = trained
    expected = evaluate(job, accuracy_evaluation(), store, catalog(), context()).metrics
    found = evaluate(job, accuracy_evaluation(), store, catalog(), Context(torch.device("cuda"))).metrics
    assert found["cross_entropy"] == pytest.approx(expected["cross_entropy"], rel=1e-3)


def test_what_needs_a_surrogate_is_refused_without_one(trained: tuple[Job, ResultsStore]) -> None:
    job, store = trained
    params = {"surrogate": "run:0123456789abcdef/last"}
    spec = accuracy_evaluation(limit=8).replace(evaluation=catalog().ref("evaluation", "transfer", params))
    with pytest.raises(RequestError, match="transfer needs another trained model, which `coretune robust eval`"):
        evaluate(job, spec, store, catalog(), context())
