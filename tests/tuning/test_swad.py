"""SWAD: the window is algorithm 1's, the average that of its steps, and a resume is exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import assert_same_tensors, context, reports, tensors_of, through_disk, toy_parts, toy_spec
from torch import Tensor, nn

from coretune.tuning.loop import Parts, train
from coretune.tuning.swad import CONVERGED, OVERFITTED, TOLERANCE, DenseAverage, Valley, use_average

torch.set_num_threads(1)


def window(losses: list[float]) -> tuple[int, int]:
    """Algorithm 1 of the paper, evaluations counted from 1: the first and the last one of the average."""
    start, end, limit = 0, len(losses), None
    for i in range(1, len(losses) + 1):
        if limit is None:
            last = losses[max(0, i - CONVERGED) : i]
            if len(last) == CONVERGED and last[0] == min(last):
                start = i - CONVERGED + 1
                limit = TOLERANCE * sum(last) / CONVERGED
        elif i >= OVERFITTED and limit < min(losses[i - OVERFITTED : i]):
            end = i - OVERFITTED
            break
    return max(start, 1), end


@settings(max_examples=200)
@given(
    losses=st.lists(st.sampled_from([0.5, 0.9, 1.0, 1.1, 1.25, 1.4, 2.0, 3.0]), min_size=1, max_size=30),
    steps=st.integers(1, 4),
)
def test_the_average_is_that_of_the_steps_of_algorithm_1(losses: list[float], steps: int) -> None:
    valley = Valley()
    weights, counts = [], []
    for number, loss in enumerate(losses, 1):
        size = steps + number % 2
        value = torch.tensor([float(number) ** 2], dtype=torch.float64)
        valley.add({"w": value, "n": torch.tensor(number)}, size, loss)
        weights.append(float(value))
        counts.append(size)
        assert len(valley.state()["open"]) <= OVERFITTED
    start, end = window(losses)
    found = valley.average()
    assert found is not None and (found.first, found.last) == (start, end)
    chosen = slice(start - 1, end)
    assert found.steps == sum(counts[chosen])
    expected = sum(w * c for w, c in zip(weights[chosen], counts[chosen], strict=True)) / sum(counts[chosen])
    assert found.weights["w"].item() == pytest.approx(expected, rel=1e-12)
    assert int(found.weights["n"]) == end


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0], (1, 1)),
        ([3.0, 2.0, 1.0, 0.9], (1, 4)),
        ([3.0, 1.0, 1.1, 1.2, 1.0], (2, 5)),
        ([3.0, 1.0, 1.1, 1.2, *[2.0] * 6, 0.1], (2, 4)),
        ([3.0, 1.0, 1.1, 1.2, *[2.0] * 5, 0.1], (2, 10)),
    ],
)
def test_known_windows(losses: list[float], expected: tuple[int, int]) -> None:
    valley = Valley()
    for loss in losses:
        valley.add({"w": torch.ones(1)}, 1, loss)
    found = valley.average()
    assert found is not None and (found.first, found.last) == expected == window(losses)


def test_the_mean_is_over_every_step_and_whole_numbers_are_the_last_ones() -> None:
    model = nn.BatchNorm1d(2)
    average = DenseAverage(model)
    seen: list[list[Tensor]] = []
    for part in (3, 2):
        for _ in range(part):
            model(torch.randn(4, 2))
            with torch.no_grad():
                model.weight.add_(torch.randn(2))
            average.after_step()
            seen.append([model.weight.detach().clone(), model.running_var.clone()])  # type: ignore[union-attr]
        average.after_evaluation(1.0)
    found = average.valley.average()
    assert found is not None and found.steps == 5
    for place, name in enumerate(("weight", "running_var")):
        torch.testing.assert_close(found.weights[name], torch.stack([step[place] for step in seen]).mean(0))
    assert int(found.weights["num_batches_tracked"]) == 5


def averaging(**train_options: int) -> Parts:
    recipe = {"epochs": 5, "batch": 8, "contrast_batch": 4, **train_options}
    parts = toy_parts(toy_spec("ce", **recipe))
    return Parts(parts.task, parts.model, parts.method, parts.train, parts.seed, keep_average=True)


def test_averaging_changes_no_training_and_a_resume_after_any_event_is_exact() -> None:
    plain, whole = toy_parts(toy_spec("ce", epochs=5, batch=8, contrast_batch=4)), averaging()
    reports(train(plain, context()))
    training = train(whole, context())
    reports(training)
    assert_same_tensors(tensors_of(plain), tensors_of(whole))
    assert training.average is not None
    expected = training.average.valley.average()
    assert expected is not None
    for stop in range(1, 5 * whole.task.steps()):
        stopped = train(averaging(), context(tick_s=0))
        for _ in range(stop):
            next(stopped)
        resumed = train(averaging(), context(), through_disk(stopped.state()))
        reports(resumed)
        assert resumed.average is not None
        found = resumed.average.valley.average()
        assert found is not None and (found.steps, found.first, found.last) == (
            expected.steps,
            expected.first,
            expected.last,
        )
        assert_same_tensors(found.weights, expected.weights)


def test_a_state_without_an_average_is_no_state_to_average_from() -> None:
    stopped = train(toy_parts(toy_spec("ce", epochs=5, batch=8, contrast_batch=4)), context(tick_s=0))
    next(stopped)
    with pytest.raises(ValueError, match="it has no average of the weights"):
        train(averaging(), context(), through_disk(stopped.state()))


def test_batch_norm_gets_the_mean_statistics_of_the_batches_and_what_rested_keeps_its_own() -> None:
    resting, moving = nn.BatchNorm1d(2), nn.BatchNorm1d(2, momentum=0.3)
    model = nn.Sequential(resting, nn.Dropout(0.9), moving)
    averaged = {name: value.clone() for name, value in model.state_dict().items()}
    resting.eval()
    model(torch.randn(8, 2))  # only the second one moves
    batches = [torch.randn(6, 2) + 3, torch.randn(6, 2)]
    use_average(model, averaged, batches)
    assert resting.running_mean is not None and resting.running_mean.tolist() == [0.0, 0.0]
    seen = [resting(batch) for batch in batches]
    assert moving.running_mean is not None and moving.running_var is not None
    torch.testing.assert_close(moving.running_mean, torch.stack([batch.mean(0) for batch in seen]).mean(0))
    torch.testing.assert_close(moving.running_var, torch.stack([batch.var(0) for batch in seen]).mean(0))
    assert moving.momentum == 0.3 and moving.training and not resting.training and model[1].training
