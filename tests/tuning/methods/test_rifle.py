"""RIFLE: when the classifier is begun anew, how, and what is forgotten with it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import context, reports, tensors_of, toy_parts, toy_spec
from torch import Tensor, nn

from coretune.spec.catalog.methods.regularisers import RifleParameters
from coretune.tuning.loop import Training, train
from coretune.tuning.methods.rifle import Rifle, period_starts

torch.set_num_threads(1)


def literal(epochs: int, periods: int) -> list[int]:
    """First epochs of all periods but the first, from lengths that differ by one at most, the longer ones last."""
    periods = min(epochs, periods)
    lengths = [epochs // periods] * periods
    for number in range(epochs % periods):
        lengths[-1 - number] += 1
    return [sum(lengths[:number]) for number in range(1, periods)]


@settings(max_examples=60)
@given(epochs=st.integers(1, 40), periods=st.integers(1, 12))
def test_periods_are_as_equal_as_can_be(epochs: int, periods: int) -> None:
    found = sorted(period_starts(epochs, periods))
    edges = [0, *found, epochs]
    lengths = [after - before for before, after in pairwise(edges)]
    assert len(found) == min(epochs, periods) - 1
    assert max(lengths) - min(lengths) <= 1
    assert lengths[-1] == max(lengths), "the classifier that is kept is trained the longest"
    assert all(0 < epoch < epochs for epoch in found)


@pytest.mark.parametrize(("epochs", "periods"), [(40, 2), (40, 4), (12, 3), (5, 5), (1, 4), (3, 7)])
def test_equal_periods_are_those_of_the_authors(epochs: int, periods: int) -> None:
    assert sorted(period_starts(epochs, periods)) == literal(epochs, periods)


def classifiers(periods: int, epochs: int, **recipe: Any) -> tuple[list[Tensor], Training]:
    """The classifier's weights before each epoch and at the end."""
    parts = toy_parts(toy_spec("rifle", params={"periods": periods}, epochs=epochs, **recipe))
    training = train(parts, context())
    found = [parts.method.classifier.weight.detach().clone()]
    for _ in training:
        found.append(parts.method.classifier.weight.detach().clone())
    return found, training


def test_the_classifier_is_begun_anew_between_periods_alone() -> None:
    plain, _ = classifiers(1, 6)
    found, _ = classifiers(3, 6)
    for epoch in range(3):
        assert torch.equal(found[epoch], plain[epoch])
    assert not torch.equal(found[3], plain[3])


def test_one_period_is_cross_entropy() -> None:
    one, other = toy_parts(toy_spec("rifle", params={"periods": 1})), toy_parts(toy_spec("ce"))
    for parts in (one, other):
        reports(train(parts, context()))
    assert all(torch.equal(value, tensors_of(other)[key]) for key, value in tensors_of(one).items())


@pytest.mark.parametrize("epoch", range(8))
def test_an_epoch_that_begins_a_period(epoch: int) -> None:
    torch.manual_seed(0)
    method = Rifle(RifleParameters(periods=4), features=5, classes=3)
    before = [parameter.detach().clone() for parameter in method.parameters()]
    found = tuple(method.start_epoch(epoch, 8, torch.Generator().manual_seed(11)))
    begins = epoch in (2, 4, 6)
    assert [id(parameter) for parameter in found] == [id(p) for p in method.classifier.parameters()] * begins
    torch.manual_seed(11)
    fresh = nn.Linear(5, 3)
    expected = [fresh.weight, fresh.bias] if begins else before
    for parameter, wanted in zip(method.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted.detach())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimiser_forgets_the_old_classifier_and_nothing_else(optimizer: str) -> None:
    parts = toy_parts(toy_spec("rifle", epochs=4, optimizer=optimizer, lr=0.01))
    training = train(parts, context(tick_s=0))
    while training.state()["epoch"] < 2:
        next(training)
    state = training._optimizer.state
    kept = {name: value.clone() for name, value in state[parts.model.encoder.conv.weight].items()}
    assert any(bool(value.any()) for value in state[parts.method.classifier.weight].values())
    training._start_epoch()
    for parameter in parts.method.classifier.parameters():
        assert all(not bool(value.any()) for value in state[parameter].values())
    assert all(torch.equal(state[parts.model.encoder.conv.weight][name], value) for name, value in kept.items())


def test_the_last_epoch_is_trained_to_its_end() -> None:
    """The last classifier predicts better than a fresh one would."""
    parts = toy_parts(toy_spec("rifle", params={"periods": 2}, epochs=12))
    history = reports(train(parts, context()))
    assert history[-1].metrics["cross_entropy"] < history[6].metrics["cross_entropy"]


@pytest.mark.parametrize("periods", [0, -1, 1.5])
def test_wrong_number_of_periods(periods: float) -> None:
    with pytest.raises(ValueError, match="periods"):
        RifleParameters(periods=periods)
