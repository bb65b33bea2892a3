"""The nearest-neighbour classifier: by loops over plain numbers, its properties, bad arguments, as an evaluation."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.crew import Crew
from support.sharded import neighbours
from support.training import catalog, context, digits_job, digits_spec, toy_dataset, toy_parts, toy_spec
from torch import Tensor

from coretune.results.store import ResultsStore
from coretune.runs.evaluate import evaluate
from coretune.runs.execute import Execution
from coretune.spec.catalog.evaluations import NeighbourParameters
from coretune.spec.run import EvalSpec
from coretune.tuning.neighbours import drawn, evaluate_neighbours, weighted_votes

torch.set_num_threads(1)


def by_loops(
    queries: list[list[float]],
    bank: list[list[float]],
    labels: list[int],
    classes: int,
    k: int,
    temperature: float,
    apart: list[int],
) -> list[list[float]]:
    """The votes, each over that of the nearest image."""

    def cosine(one: list[float], other: list[float]) -> float:
        lengths = math.hypot(*one) * math.hypot(*other)
        return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0

    found = []
    for query, self_ in zip(queries, apart, strict=True):
        near = sorted(
            (
                (cosine(query, other), label)
                for j, (other, label) in enumerate(zip(bank, labels, strict=True))
                if j != self_
            ),
            reverse=True,
        )
        votes = [0.0] * classes
        for similarity, label in near[:k]:
            votes[label] += math.exp((similarity - near[0][0]) / temperature)
        found.append(votes)
    return found


def example(seed: int, n: int, m: int, d: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    queries, bank = (torch.randn(size, d, generator=draws) for size in (n, m))
    return queries, bank, torch.randint(classes, (m,), generator=draws)


@pytest.mark.parametrize("block", [None, 1, 3])
@pytest.mark.parametrize("k", [1, 4, 100])
@pytest.mark.parametrize("left_out", [False, True])
def test_votes_equal_the_formula(block: int | None, k: int, left_out: bool) -> None:
    queries, bank, labels = example(0, n=7, m=11, d=5, classes=4)
    bank[2] *= 0.1  # of any length
    apart = torch.tensor([-1, 3, 10, -1, 0, 5, 3])
    if left_out:
        queries[1] = bank[3]
    found = weighted_votes(
        queries, bank, labels, classes=4, k=k, temperature=0.3, apart=apart if left_out else None, block=block
    )
    others = apart.tolist() if left_out else [-1] * 7
    expected = by_loops(queries.tolist(), bank.tolist(), labels.tolist(), 4, k, 0.3, others)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 9),
    m=st.integers(1, 9),
    d=st.integers(1, 6),
    k=st.integers(1, 12),
    scale=st.floats(1e-3, 1e3),
    temperature=st.floats(1e-4, 10),
    block=st.integers(1, 10),
)
def test_what_must_not_matter_does_not(
    seed: int, n: int, m: int, d: int, k: int, scale: float, temperature: float, block: int
) -> None:
    """Votes are finite and of k images at most; lengths, order, blocks and names of classes do not change them."""
    queries, bank, labels = example(seed, n, m, d, classes=3)
    options = {"k": k, "temperature": temperature}
    votes = weighted_votes(queries, bank, labels, classes=3, **options)  # type: ignore[arg-type]
    assert votes.shape == (n, 3) and bool(votes.isfinite().all())
    assert bool((votes >= 0).all()) and bool((votes.sum(dim=1) <= min(k, m) + 1e-4).all())
    assert bool((votes.max(dim=1).values >= 1 / 3 - 1e-6).all()), "the nearest one votes with weight 1"
    again = weighted_votes(scale * queries, bank, labels, classes=3, block=block, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(again, votes, rtol=1e-2, atol=1e-3 / min(temperature, 1.0))
    renamed = weighted_votes(queries, bank, (labels + 1) % 3, classes=3, **options)  # type: ignore[arg-type]
    assert torch.equal(renamed.roll(-1, dims=1), votes)


def test_one_neighbour_is_the_nearest_one() -> None:
    queries, bank, labels = example(1, n=20, m=30, d=4, classes=5)
    votes = weighted_votes(queries, bank, labels, classes=5, k=1)
    nearest = torch.nn.functional.cosine_similarity(queries[:, None], bank[None], dim=2).argmax(dim=1)
    assert torch.equal(votes.argmax(dim=1), labels[nearest])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"queries": torch.rand(3, 4)}, r"bank: got shape \(6, 5\), need a floating tensor \(m, 4\)"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, r"labels: got shape \(4,\)"),
        ({"labels": torch.zeros(6)}, "labels: got torch.float32, need an integer tensor"),
        ({"k": 0}, "k: got 0"),
        ({"temperature": 0.0}, "temperature: got 0.0"),
        ({"queries": torch.full((3, 5), torch.nan)}, r"queries: got nan at \[0, 0\]"),
        (
            {"bank": torch.rand(1, 5), "labels": torch.zeros(1).long(), "apart": torch.zeros(3).long()},
            "no image that may vote",
        ),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, object], said: str) -> None:
    queries, bank, labels = example(0, n=3, m=6, d=5, classes=2)
    arguments = {"queries": queries, "bank": bank, "labels": labels, "classes": 2, **changes}
    with pytest.raises(ValueError, match=said):
        weighted_votes(**arguments)  # type: ignore[arg-type]


def test_a_bank_is_drawn_by_the_seed() -> None:
    indices = np.arange(100, 200)
    assert drawn(indices, 100, 0) is indices
    some = drawn(indices, 30, 0)
    assert len(np.unique(some)) == 30 and (np.diff(some) > 0).all() and np.isin(some, indices).all()
    assert np.array_equal(some, drawn(indices, 30, 0)) and not np.array_equal(some, drawn(indices, 30, 1))


def test_figure_is_that_of_the_features() -> None:
    data, parts = toy_dataset(labelled=21, validation=9), toy_parts(toy_spec("moco_v2"))
    parts.model.eval()
    params = NeighbourParameters(k=3, temperature=0.5)
    found = evaluate_neighbours(
        parts.model, data.packed, data.split.validation, context(), labelled=data.split.train, params=params
    )
    pixels = torch.from_numpy(data.packed.images).permute(0, 3, 1, 2) / 255
    features = parts.model.features(pixels).tolist()
    votes = by_loops(features[21:], features[:21], data.packed.labels[:21].tolist(), 3, 3, 0.5, [-1] * 9)
    hits = sum(row.index(max(row)) == label for row, label in zip(votes, data.packed.labels[21:], strict=True))
    assert found == {"knn_top1": pytest.approx(100 * hits / 9)}


def test_an_image_has_no_vote_on_itself() -> None:
    data, parts = toy_dataset(labelled=21), toy_parts(toy_spec("moco_v2"))
    parts.model.eval()
    train = data.split.train
    data.packed.labels[:] = np.random.default_rng(0).integers(0, 3, len(data.packed.labels))
    params = NeighbourParameters(k=1)
    found = evaluate_neighbours(parts.model, data.packed, train, context(), labelled=train, params=params)
    assert found["knn_top1"] < 90, "with a vote on themselves it would be 100"


def test_where_nothing_can_be_said_nothing_is() -> None:
    data, parts = toy_dataset(), toy_parts(toy_spec("moco_v2"))
    parts.model.eval()
    none, one = np.empty(0, np.int64), np.array([0])
    for asked, bank in ((none, data.split.train), (data.split.validation, none), (one, one)):
        assert evaluate_neighbours(parts.model, data.packed, asked, context(), labelled=bank) == {}
    single = dataclasses.replace(data.packed, classes=("a",))
    assert evaluate_neighbours(parts.model, single, one, context(), labelled=data.split.train) == {}


def test_features_that_are_not_finite_give_no_number() -> None:
    data, parts = toy_dataset(), toy_parts(toy_spec("moco_v2"))
    parts.model.eval()
    parts.model.encoder.norm.running_var.fill_(torch.nan)
    found = evaluate_neighbours(parts.model, data.packed, data.split.validation, context(), labelled=data.split.train)
    assert math.isnan(found["knn_top1"])


@pytest.mark.parametrize("n", [1, 12, 13])
def test_workers_come_to_the_same_figure(crew: Crew, n: int) -> None:
    alone = neighbours(context().shard, n)
    for workers in (2, 3):
        assert crew.run(workers, neighbours, n) == [alone] * workers


def test_a_run_is_evaluated_by_its_neighbours(tmp_path: Path) -> None:
    def asked(split: str, **params: float) -> EvalSpec:
        return EvalSpec(evaluation=catalog().ref("evaluation", "knn", params), split=split)  # type: ignore[arg-type]

    on_test, on_itself = asked("test", k=3), asked("labelled")
    job = digits_job(digits_spec("ce"), evaluations=(on_test, on_itself), keep_weights=True)
    store = ResultsStore(tmp_path)
    execution = Execution(job, store, catalog(), context())
    list(execution)
    assert execution.record is not None and execution.record.status == "completed", execution.record
    found = [store.evaluation(job.spec.run_id, spec.eval_id(job.spec.run_id)) for spec in (on_test, on_itself)]
    assert all(item is not None and 0 <= item.metrics["knn_top1"] <= 100 for item in found)
    assert found[0] is not None and found[0].metrics["knn_top1"] > 15, "ten digits, two labels of each"
    assert evaluate(job, on_test, store, catalog(), context()).metrics == found[0].metrics


@pytest.mark.parametrize("values", [{"k": 0}, {"k": 2.5}, {"temperature": 0}, {"bank": 0}, {"bank": 10**9}])
def test_bad_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        NeighbourParameters.model_validate(values)
