"""What every method keeps, whoever wrote it: each name in the catalog passes all of this."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pytest
import torch
from support.crew import Crew
from support.near import assert_near
from support.sharded import step_result, training_result
from support.training import (
    CLASSES,
    assert_same_tensors,
    catalog,
    context,
    reports,
    tensors_of,
    through_disk,
    toy_dataset,
    toy_parts,
    toy_spec,
)
from torch import Tensor, nn

from coretune.spec.catalog.conformance import faults
from coretune.spec.run import RunSpec
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.loop import Parts, train
from coretune.tuning.method import LossTerms
from coretune.tuning.shard import Shard
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)

METHODS = catalog().names("method")
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "delta by ablation": ("delta", {"weighting": "ablation_released", "ablation_images": 9}),
    "core_tuning across domains": ("core_tuning", {"pairs": "cross_domain"}),
}
"""Methods with parameters that make them do something else."""
CASES = [*METHODS, *OPTIONS]
EARLY, LATE = Moment(seed=7, epoch=0, step=0, progress=0.0), Moment(seed=7, epoch=2, step=1, progress=0.95)


def spec(name: str, **train: Any) -> RunSpec:
    """A toy run with the recipe that the method declares, as a study would have it."""
    method, params = OPTIONS.get(name, (name, {}))
    recipe = {"batch": 12, "contrast_batch": 6, **catalog().get("method", method).train, **train}
    return toy_spec(method, params=params, **recipe)


def batch(n: int = 12, dtype: torch.dtype = torch.float64, labels: Tensor | None = None, side: int = 8) -> Batch:
    draws = torch.Generator().manual_seed(n)
    images = tuple(torch.rand(n, 3, side, side, dtype=torch.float64, generator=draws).to(dtype) for _ in range(2))
    return Batch(
        images, torch.arange(n) % CLASSES if labels is None else labels, torch.arange(n), torch.arange(n) // 2 % 2
    )


def gradients(parts: Parts, data: Batch, moment: Moment, micro_batch: int | None = None) -> dict[str, Tensor]:
    loss = step(parts, data, moment, micro_batch)
    loss.total.backward()
    modules = nn.ModuleDict({"encoder": parts.model.encoder, "method": parts.method})
    return {name: p.grad for name, p in modules.named_parameters() if p.grad is not None}


def step(parts: Parts, data: Batch, moment: Moment, micro_batch: int | None = None) -> LossTerms:
    parts.model.train()
    parts.method.train()
    views = data.views[: parts.method.views]
    data = Batch(views, data.labels, data.index, data.domain)
    return contrast_loss(parts.model, data, parts.method, parts.train, moment, context(micro_batch=micro_batch))


@pytest.mark.parametrize("name", METHODS)
def test_a_declaration_has_no_fault_and_names_its_source(name: str) -> None:
    component = catalog().get("method", name)
    assert faults(component) == []
    assert component.source, "paper, equation"
    doc = component.load().__doc__
    assert doc and "Args:" in doc


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("moment", [EARLY, LATE], ids=["early", "late"])
def test_loss_and_gradients_are_finite_and_reach_the_model(name: str, moment: Moment) -> None:
    parts = toy_parts(spec(name), dtype=torch.float64)
    loss = step(parts, batch(), moment)
    assert loss.total.shape == () and math.isfinite(loss.total.item())
    assert all(math.isfinite(value.item()) and not value.requires_grad for value in loss.terms.values())
    assert "loss" not in loss.terms
    found = gradients(toy_parts(spec(name), dtype=torch.float64), batch(), moment)
    assert found and all(bool(gradient.isfinite().all()) for gradient in found.values())
    trains_encoder = not parts.method.frozen(moment.progress) and any(
        parameter.requires_grad for parameter in parts.model.encoder.parameters()
    )
    assert any(key.startswith("encoder.") and bool(g.any()) for key, g in found.items()) == trains_encoder


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("moment", [EARLY, LATE], ids=["early", "late"])
def test_single_precision_agrees_with_double(name: str, moment: Moment) -> None:
    double = gradients(toy_parts(spec(name), dtype=torch.float64), batch(), moment)
    single = gradients(toy_parts(spec(name)), batch(dtype=torch.float32), moment)
    assert single.keys() == double.keys()
    scale = max(float(gradient.abs().max()) for gradient in double.values())
    for key, gradient in double.items():
        assert single[key].dtype == torch.float32
        torch.testing.assert_close(single[key].double(), gradient, rtol=1e-3, atol=1e-4 * scale, msg=key)


@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_finite_and_near(name: str) -> None:
    exact = step(toy_parts(spec(name)), batch(dtype=torch.float32), EARLY).total
    parts = toy_parts(spec(name, precision="bf16"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = step(parts, batch(dtype=torch.float32), EARLY).total
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(exact.item(), rel=0.1, abs=0.05)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("labels", [[0], [1, 1, 1, 1], [0, 1], [2, 0, 1], [0, 0, 1]], ids=str)
@pytest.mark.parametrize("moment", [EARLY, LATE], ids=["early", "late"])
def test_odd_batches_are_defined(name: str, labels: list[int], moment: Moment) -> None:
    parts = toy_parts(spec(name), dtype=torch.float64)
    data = batch(len(labels), labels=torch.tensor(labels))
    found = gradients(parts, data, moment)
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())


@pytest.mark.parametrize("name", CASES)
def test_identical_images_are_defined(name: str) -> None:
    data = batch(6)
    same = Batch(tuple(view[:1].repeat(6, 1, 1, 1) for view in data.views), data.labels, data.index, data.domain)
    found = gradients(toy_parts(spec(name), dtype=torch.float64), same, EARLY)
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("moment", [EARLY, LATE], ids=["early", "late"])
def test_a_micro_batch_changes_nothing(name: str, moment: Moment) -> None:
    results = []
    for micro_batch in (None, 4):
        parts = toy_parts(spec(name, bn_group=2), dtype=torch.float64)
        found = gradients(parts, batch(), moment, micro_batch)
        results.append((found, {key: value.clone() for key, value in parts.model.named_buffers()}))
    (whole, buffers), (part, part_buffers) = results
    assert part.keys() == whole.keys()
    for key, gradient in whole.items():
        torch.testing.assert_close(part[key], gradient, rtol=1e-6, atol=1e-9, msg=key)
    for key, buffer in buffers.items():
        torch.testing.assert_close(part_buffers[key], buffer, rtol=0, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("moment", [EARLY, LATE], ids=["early", "late"])
@pytest.mark.parametrize(("workers", "contrast_batch"), [(2, 6), (3, 12)], ids=["whole groups", "in step"])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_several_workers_compute_what_one_computes(
    crew: Crew, name: str, moment: Moment, workers: int, contrast_batch: int, micro_batch: int | None
) -> None:
    """Loss, averaged gradients and buffers of a step on 11 samples."""
    described = spec(name, contrast_batch=contrast_batch)
    alone = step_result(Shard(), described, 11, moment)
    for found in crew.run(workers, step_result, described, 11, moment, micro_batch):
        assert_near(found, alone, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_a_training_of_several_workers_is_that_of_one(crew: Crew, name: str) -> None:
    """Four epochs of batches of 16 and 3 samples; three of the four workers have nothing of the latter."""
    described = spec(name, epochs=4, batch=16, contrast_batch=4)
    alone = training_result(Shard(), described, 19, torch.float64)
    for found in crew.run(4, training_result, described, 19, torch.float64):
        assert_near(found, alone, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_a_resume_after_any_event_is_exact(name: str) -> None:
    recipe = {"batch": 8, "contrast_batch": 4, "epochs": 4}
    whole = toy_parts(spec(name, **recipe))
    training = train(whole, context())
    reports(training)
    for stop in range(1, 4 * whole.task.steps()):
        first, second = toy_parts(spec(name, **recipe)), toy_parts(spec(name, **recipe))
        stopped = train(first, context(tick_s=0))
        for _ in range(stop):
            next(stopped)
        resumed = train(second, context(), through_disk(stopped.state()))
        reports(resumed)
        assert_same_tensors(tensors_of(second), tensors_of(whole))
        assert [report.train for report in resumed.history] == [report.train for report in training.history]


@pytest.mark.parametrize("name", CASES)
def test_a_method_draws_only_from_its_own_stream(name: str) -> None:
    """Torch's and numpy's global generators neither matter nor move, apart from those that the loop seeds itself."""
    found = []
    for seed in (0, 1):
        np.random.seed(seed)
        before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
        parts = toy_parts(spec(name))
        torch.manual_seed(seed)
        reports(train(parts, context()))
        found.append(tensors_of(parts))
        assert (np.random.get_state()[1] == before).all()  # type: ignore[union-attr]
    assert_same_tensors(*found)


@pytest.mark.parametrize("name", CASES)
def test_it_learns_what_is_easy_to_tell_apart(name: str) -> None:
    data = toy_dataset(labelled=60, validation=30)
    recipe = {"epochs": 40, "batch": 20, "contrast_batch": 20, "lr": LEARNING_RATES.get(name, 0.05)}
    training = train(toy_parts(spec(name, **recipe), data), context())
    reports(training)
    assert training.history[-1].metrics["top1"] >= 90, name


LEARNING_RATES: dict[str, float] = {"ssf": 0.02, "irm": 0.5}
"""Methods that need another learning rate than 0.05 on the toy: they train with AdamW, or divide their loss."""


@pytest.mark.parametrize("name", METHODS)
def test_the_classifier_of_a_seed_is_that_of_ce(name: str) -> None:
    """The classifier is drawn first, so that methods of one seed are compared in pairs."""
    found = []
    for method in ("ce", name):
        component = catalog().get("method", method)
        torch.manual_seed(5)
        made = component.load()(catalog().parameters("method", catalog().ref("method", method)), features=6, classes=3)
        assert isinstance(made.classifier, nn.Linear)
        found.append(made.classifier.weight)
    assert torch.equal(*found)


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_described_and_refuses_what_it_cannot_be(name: str) -> None:
    component = catalog().get("method", name)
    for key, field in component.parameters.model_fields.items():
        assert field.description, key
        for bad in ("nonsense", [1], math.nan, -math.inf):
            with pytest.raises(ValueError, match=key):
                component.parameters.model_validate({key: bad})
    with pytest.raises(ValueError, match="extra"):
        component.parameters.model_validate({"nope": 1})


@pytest.mark.parametrize("name", CASES)
def test_a_step_frees_its_memory(name: str) -> None:
    """Whatever a method keeps between steps is bounded: nothing of a step's graph stays alive."""
    parts = toy_parts(spec(name))
    training = train(parts, context(tick_s=0))
    sizes = []
    for _ in range(5):
        next(training)
        gc.collect()
        sizes.append(sum(issubclass(type(item), Tensor) and item.grad_fn is not None for item in gc.get_objects()))
    assert sizes[-1] <= sizes[1] + 2, sizes
