from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.tuning.metrics import ClassificationMetrics

torch.set_num_threads(1)
CPU = torch.device("cpu")


def literal(logits: list[list[float]], labels: list[int]) -> dict[str, float]:
    hits = [row.index(max(row)) == label for row, label in zip(logits, labels, strict=True)]
    by_class = [[hit for hit, label in zip(hits, labels, strict=True) if label == c] for c in sorted(set(labels))]
    losses = [
        math.log(sum(math.exp(value - max(row)) for value in row)) + max(row) - row[label]
        for row, label in zip(logits, labels, strict=True)
    ]
    return {
        "top1": 100 * sum(hits) / len(hits),
        "mean_per_class": 100 * sum(sum(found) / len(found) for found in by_class) / len(by_class),
        "cross_entropy": sum(losses) / len(losses),
    }


@settings(max_examples=40)
@given(data=st.data(), n=st.integers(1, 20), cut=st.integers(0, 20), seed=st.integers(0, 1000))
def test_against_loops_whatever_the_batches(data: st.DataObject, n: int, cut: int, seed: int) -> None:
    logits = 5 * torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    metrics = ClassificationMetrics(4, CPU)
    for part in (slice(0, cut), slice(cut, n)):
        if len(labels[part]):
            metrics.update(logits[part], labels[part])
    # A loss near 0 is a difference of two numbers near 5 in float32.
    assert metrics.compute() == pytest.approx(literal(logits.tolist(), labels.tolist()), rel=1e-5, abs=1e-6)


def test_a_class_that_does_not_occur_is_left_out() -> None:
    metrics = ClassificationMetrics(3, CPU)
    metrics.update(torch.eye(3)[[0, 0, 0, 1]], torch.tensor([0, 0, 0, 0]))
    metrics.update(torch.eye(3)[[1]].bfloat16(), torch.tensor([1]))
    found = metrics.compute()
    assert found["top1"] == pytest.approx(80)
    assert found["mean_per_class"] == pytest.approx((75 + 100) / 2)


def test_a_mean_over_many_keeps_its_digits() -> None:
    metrics = ClassificationMetrics(2, CPU)
    logits = torch.tensor([[10.0, 0.0]]).expand(50_000, 2)
    metrics.update(logits, torch.zeros(50_000, dtype=torch.int64))
    metrics.update(torch.tensor([[0.0, 1e4]]), torch.tensor([0]))
    expected = (50_000 * math.log1p(math.exp(-10)) + 1e4) / 50_001
    assert metrics.compute()["cross_entropy"] == pytest.approx(expected, rel=1e-7)


def test_nan_stays_visible() -> None:
    metrics = ClassificationMetrics(2, CPU)
    metrics.update(torch.tensor([[math.nan, 0.0]]), torch.tensor([0]))
    assert math.isnan(metrics.compute()["cross_entropy"])


def test_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no sample"):
        ClassificationMetrics(2, CPU).compute()
