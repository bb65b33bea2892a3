"""Calibration: by loops over plain numbers, by scikit-learn, its properties, bad arguments, as an evaluation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss
from support.crew import Crew
from support.sharded import calibration
from support.training import catalog, context, digits_job, digits_spec, toy_dataset, toy_parts, toy_spec
from torch import Tensor

from coretune.errors import RunError
from coretune.results.store import ResultsStore
from coretune.robust.calibration import (
    Binning,
    brier_score,
    evaluate_calibration,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from coretune.runs.execute import Execution
from coretune.spec.catalog.evaluations import CalibrationParameters
from coretune.spec.run import EvalSpec

torch.set_num_threads(1)


def example(seed: int, n: int, classes: int, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=draws, dtype=torch.float64)
    labels = torch.where(
        torch.rand(n, generator=draws) < 0.6, logits.argmax(dim=1), torch.randint(classes, (n,), generator=draws)
    )
    return logits, labels


def ece_by_loops(probabilities: list[list[float]], labels: list[int], bins: int) -> float:
    """The definition, bin by bin."""
    total = 0.0
    for m in range(bins):
        members = [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(probabilities, labels, strict=True)
            if m / bins < max(row) <= (m + 1) / bins
        ]
        if members:
            accuracy = sum(hit for _, hit in members) / len(members)
            confidence = sum(sure for sure, _ in members) / len(members)
            total += len(members) / len(labels) * abs(accuracy - confidence)
    return 100 * total


def adaptive_by_loops(probabilities: list[list[float]], labels: list[int], bins: int) -> float:
    """Images in the order of their confidence, cut into parts whose sizes differ by one at most."""
    rows = sorted((max(row), row.index(max(row)) == label) for row, label in zip(probabilities, labels, strict=True))
    total = 0.0
    for part in np.array_split(np.arange(len(rows)), min(bins, len(rows))):
        members = [rows[i] for i in part]
        total += abs(sum(hit for _, hit in members) - sum(sure for sure, _ in members)) / len(rows)
    return 100 * total


@pytest.mark.parametrize("bins", [1, 7, 15, 100])
@pytest.mark.parametrize(("n", "classes"), [(1, 2), (50, 3), (400, 10)])
def test_the_error_equals_its_definition(bins: int, n: int, classes: int) -> None:
    logits, labels = example(n, n, classes)
    shares = logits.softmax(dim=1)
    found = expected_calibration_error(reliability(shares, labels, bins=bins))
    assert found == pytest.approx(ece_by_loops(shares.tolist(), labels.tolist(), bins), abs=1e-9)
    adaptive = expected_calibration_error(reliability(shares, labels, bins=bins, binning="equal_mass"))
    assert adaptive == pytest.approx(adaptive_by_loops(shares.tolist(), labels.tolist(), bins), abs=1e-9)


def test_scores_equal_those_of_scikit_learn() -> None:
    logits, labels = example(3, 200, 5)
    shares = logits.softmax(dim=1)
    expected = brier_score_loss(labels.numpy(), shares.numpy(), labels=range(5), scale_by_half=False)
    assert brier_score(shares, labels) == pytest.approx(expected)
    assert negative_log_likelihood(logits, labels) == pytest.approx(log_loss(labels.numpy(), shares.numpy()))


@pytest.mark.parametrize("scale", [0.3, 1.0, 8.0])
def test_the_temperature_is_the_minimum_that_another_optimiser_finds(scale: float) -> None:
    logits, labels = example(5, 300, 4, scale)
    found = fit_temperature(logits, labels)
    other = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, math.exp(log_t)), bounds=(-4.6, 4.6), method="bounded"
    )
    assert found == pytest.approx(math.exp(other.x), rel=1e-3)
    assert negative_log_likelihood(logits, labels, found) <= other.fun + 1e-12


def test_a_calibrated_source_has_temperature_one_and_a_small_error() -> None:
    draws = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40_000, 3, generator=draws, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=draws).squeeze(1)
    assert fit_temperature(logits, labels) == pytest.approx(1.0, rel=0.03)
    assert fit_temperature(5 * logits, labels) == pytest.approx(5.0, rel=0.03)
    assert expected_calibration_error(reliability(logits.softmax(dim=1), labels)) < 1.0
    assert expected_calibration_error(reliability((5 * logits).softmax(dim=1), labels)) > 10


def test_temperatures_end_where_the_likelihood_has_no_minimum() -> None:
    logits, labels = torch.eye(3), torch.arange(3)
    assert fit_temperature(logits, labels) == 0.01, "right everywhere: the surer the better"
    assert fit_temperature(-logits, labels) == 100.0, "worse than chance: the less sure the better"
    assert fit_temperature(torch.zeros(3, 3), labels) == 0.01, "where no temperature matters, the first one"


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 40),
    classes=st.integers(2, 6),
    bins=st.integers(1, 30),
    scale=st.floats(0.01, 100),
    binning=st.sampled_from(["equal_width", "equal_mass"]),
)
def test_what_must_hold_holds(seed: int, n: int, classes: int, bins: int, scale: float, binning: Binning) -> None:
    """Bins hold all images, errors are in range, order does not matter, a temperature keeps the predictions."""
    logits, labels = example(seed, n, classes, scale)
    shares = logits.softmax(dim=1)
    diagram = reliability(shares, labels, bins=bins, binning=binning)
    assert sum(each.images for each in diagram) == n and len(diagram) <= bins
    assert all(
        each.low - 1e-9 <= each.confidence <= each.high + 1e-9 for each in diagram if each.confidence is not None
    )
    error = expected_calibration_error(diagram)
    assert 0 <= error <= 100 and 0 <= brier_score(shares, labels) <= 2
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assume(len(shares.amax(dim=1).unique()) == n or binning == "equal_width")  # ties may be cut anywhere
    again = reliability(shares[shuffled], labels[shuffled], bins=bins, binning=binning)
    assert expected_calibration_error(again) == pytest.approx(error, abs=1e-6)
    temperature = fit_temperature(logits, labels)
    assert 0.01 <= temperature <= 100
    least = negative_log_likelihood(logits, labels, temperature)
    assert all(least <= negative_log_likelihood(logits, labels, other) + 1e-9 for other in (0.01, 0.5, 1.0, 3.0, 100.0))
    assert fit_temperature(logits + 7.0, labels) == pytest.approx(temperature, rel=1e-4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p, y: reliability(p, y, bins=0), "bins: got 0"),
        (lambda p, y: reliability(p, y, binning="equal"), "binning: got 'equal'"),  # type: ignore[arg-type]
        (lambda p, y: reliability(p[0], y), "probabilities: got shape"),
        (lambda p, y: reliability(p, y.float()), "labels: got torch.float32"),
        (lambda p, y: brier_score(p, y[:1]), "labels: got shape"),
        (lambda p, y: fit_temperature(p / 0, y), "logits: got (inf|nan)"),
    ],
)
def test_bad_arguments_are_refused(call: object, said: str) -> None:
    logits, labels = example(0, 4, 3)
    with pytest.raises(ValueError, match=said):
        call(logits.softmax(dim=1), labels)  # type: ignore[operator]


@pytest.mark.parametrize("values", [{"bins": 0}, {"bins": 2.5}, {"binning": "equal"}])
def test_bad_parameters_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CalibrationParameters.model_validate(values)


def test_the_evaluation_scales_by_the_validation_part_alone() -> None:
    data, parts = toy_dataset(labelled=30, validation=12), toy_parts(toy_spec("ce"))
    parts.model.eval()
    pixels = torch.from_numpy(data.packed.images).permute(0, 3, 1, 2) / 255
    logits, labels = parts.model(pixels).double().detach(), torch.from_numpy(data.packed.labels)
    judged, validation = data.split.labelled, data.split.validation
    found = evaluate_calibration(parts.model, data.packed, judged, context(), validation=validation)
    temperature = fit_temperature(logits[validation], labels[validation])
    assert found.metrics["temperature"] == pytest.approx(temperature, rel=1e-4)
    assert found.metrics["nll"] == pytest.approx(negative_log_likelihood(logits[judged], labels[judged]), rel=1e-5)
    scaled = (logits[judged] / temperature).softmax(dim=1)
    assert found.metrics["brier_scaled"] == pytest.approx(brier_score(scaled, labels[judged]), rel=1e-4)
    assert found.details["bins"] == 15 and found.details["binning"] == "equal_width"
    assert len(found.details["reliability"]) == len(found.details["reliability_scaled"]) == 15
    assert found.details["temperature"]["images"] == 12


def test_nothing_is_scaled_on_what_is_judged() -> None:
    data, parts = toy_dataset(), toy_parts(toy_spec("ce"))
    parts.model.eval()
    none = np.empty(0, np.int64)
    for judged, validation, why in (
        (data.split.validation, data.split.validation, "12 of the judged images"),
        (data.split.labelled, none, "there is none"),
    ):
        found = evaluate_calibration(parts.model, data.packed, judged, context(), validation=validation)
        assert "temperature" not in found.metrics and why in found.details["not_scaled"]
    assert not evaluate_calibration(parts.model, data.packed, none, context(), validation=none).metrics


def test_logits_that_are_not_finite_are_an_error() -> None:
    data, parts = toy_dataset(), toy_parts(toy_spec("ce"))
    parts.model.eval()
    parts.model.encoder.norm.running_var.fill_(torch.nan)
    with pytest.raises(RunError, match="logits of 20 of 20 images are not finite"):
        evaluate_calibration(parts.model, data.packed, data.split.labelled, context(), validation=data.split.validation)


def test_workers_come_to_the_same_figures(crew: Crew) -> None:
    alone = calibration(context().shard)
    for found in crew.run(2, calibration):
        assert found == pytest.approx(alone, rel=1e-6)


def test_a_run_is_evaluated(tmp_path: Path) -> None:
    spec = EvalSpec(evaluation=catalog().ref("evaluation", "calibration", {"bins": 10}), limit=40)
    job = digits_job(digits_spec("ce"), evaluations=(spec,))
    store = ResultsStore(tmp_path)
    list(Execution(job, store, catalog(), context()))
    found = store.evaluation(job.spec.run_id, spec.eval_id(job.spec.run_id))
    assert found is not None and found.details["images"] == 40 and found.details["temperature"]["images"] == 50
    assert sum(each["images"] for each in found.details["reliability"]) == 40
