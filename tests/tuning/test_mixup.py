"""Hard pairs against literal loops, their distribution, properties, edge cases and errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.distributions import assert_beta
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from coretune.tuning.beta import draw_beta
from coretune.tuning.mining import Mining, choose_partners
from coretune.tuning.mixup import HardPairs, hard_pairs

torch.set_num_threads(1)

MINING: tuple[Mining, ...] = ("hard", "random")


def sample(n: int, d: int, classes: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype)
    return features, torch.randint(classes, (n,), generator=generator)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def partners_of(
    features: list[list[float]], labels: list[int], i: int, chosen: HardPairs | None
) -> tuple[bool, bool, int, int]:
    """Whether i has a same-class and an other-class sample, and its hp and hn: the hardest, or those of `chosen`."""
    same = {j: cosine(features[i], features[j]) for j in range(len(labels)) if j != i and labels[j] == labels[i]}
    other = {j: cosine(features[i], features[j]) for j in range(len(labels)) if labels[j] != labels[i]}
    if chosen is None:
        return bool(same), bool(other), first_extreme(same, -1) if same else i, first_extreme(other, 1) if other else i
    hp, hn = int(chosen.hardest_positive[i]), int(chosen.hardest_negative[i])
    assert hp in (same or {i}) and hn in (other or {i})
    return bool(same), bool(other), hp, hn


def first_extreme(values: dict[int, float], sign: int) -> int:
    best = max(sign * value for value in values.values())
    return min(k for k, value in values.items() if sign * value >= best - 1e-13)


def literal(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    k: Tensor,
    lambda_neg: Tensor,
    lambda_pos: Tensor,
    chosen: HardPairs | None = None,
) -> dict[str, list[Any]]:
    """The definition, transcribed with Python loops and numbers; hp and hn are those of `chosen`, if given."""
    x, y, n = features.tolist(), labels.tolist(), len(labels)
    one_hot = [[float(c == label) for c in range(num_classes)] for label in y]

    def mix(rows: list[list[float]], a: int, b: int, weight: float) -> list[float]:
        return [weight * u + (1 - weight) * v for u, v in zip(rows[a], rows[b], strict=True)]

    negatives, positives = [], []
    owner: list[int] = []
    anchors = []
    for i in range(n):
        same, other, hp, hn = partners_of(x, y, i, chosen)
        anchors.append(same)
        if other:
            negatives.append((int(k[i]), i, float(lambda_neg[i])))
            positives.append((hp, hn, float(lambda_pos[i])))
        else:
            negatives.append((i, i, 1.0))
            positives.append((i, i, 1.0))
        owner.append(i if other else -2)
    recipe = negatives + positives
    return {
        "features": x + [mix(x, a, b, weight) for a, b, weight in recipe],
        "targets": one_hot + [mix(one_hot, a, b, weight) for a, b, weight in recipe],
        "groups": y + [num_classes + i for i in range(n)] + y,
        "owner": [-1] * n + [o if o >= 0 else n + row for row, o in enumerate(owner + owner)],
        "anchors": anchors + [False] * (2 * n),
    }


def assert_equals_literal(pairs: HardPairs, expected: dict[str, list[Any]]) -> None:
    assert torch.allclose(pairs.features.double(), torch.tensor(expected["features"]).double(), atol=1e-12)
    assert torch.allclose(pairs.targets.double(), torch.tensor(expected["targets"]).double(), atol=1e-12)
    for name in ("groups", "owner", "anchors"):
        assert getattr(pairs, name).tolist() == expected[name], name


@given(st.integers(1, 14), st.integers(1, 5), st.integers(0, 10**6), st.booleans())
@settings(max_examples=80)
def test_equals_the_definition(n: int, classes: int, seed: int, coarse: bool) -> None:
    features, labels = sample(n, 4, classes, seed)
    if coarse:  # many equal cosines and zero vectors
        features = features.round()
    k = torch.randint(n, (n,), generator=generator(seed))
    mixes = torch.rand(2, n, generator=generator(seed), dtype=torch.float64)
    pairs = hard_pairs(features, labels, 5, negative_index=k, negative_mix=mixes[0], positive_mix=mixes[1])
    assert_equals_literal(pairs, literal(features, labels, 5, k, mixes[0], mixes[1]))


@given(st.integers(1, 14), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from(["hard", "random"]))
@settings(max_examples=60)
def test_draws_obey_the_definition(n: int, classes: int, seed: int, mining: Mining) -> None:
    features, labels = sample(n, 4, classes, seed)
    pairs = hard_pairs(features, labels, 5, mining=mining, generator=generator(seed), positive_floor=0.3)
    several = bool((labels != labels[0]).any())
    if several:
        assert (labels[pairs.negative_index] != labels).all()
        assert (pairs.negative_mix >= 0.8).all() and (pairs.positive_mix >= 0.3).all()
    else:
        assert torch.equal(pairs.features, features.repeat(3, 1))
    chosen = pairs if mining == "random" else None
    expected = literal(features, labels, 5, pairs.negative_index, pairs.negative_mix, pairs.positive_mix, chosen)
    assert_equals_literal(pairs, expected)


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 10**6))
@settings(max_examples=40)
def test_permutation_equivariance(n: int, classes: int, seed: int) -> None:
    features, labels = sample(n, 5, classes, seed)
    mixes = torch.rand(2, n, generator=generator(seed), dtype=torch.float64)
    k = torch.randint(n, (n,), generator=generator(seed))
    order = torch.randperm(n, generator=generator(seed + 1))
    place = order.argsort()
    plain = hard_pairs(features, labels, 4, negative_index=k, negative_mix=mixes[0], positive_mix=mixes[1])
    moved = hard_pairs(
        features[order],
        labels[order],
        4,
        negative_index=place[k[order]],
        negative_mix=mixes[0][order],
        positive_mix=mixes[1][order],
    )
    rows = torch.cat([order, n + order, 2 * n + order])
    assert torch.allclose(moved.features, plain.features[rows], atol=1e-12)
    assert torch.allclose(moved.targets, plain.targets[rows], atol=1e-12)
    assert torch.equal(moved.anchors, plain.anchors[rows])


def test_known_angles() -> None:
    angles = torch.tensor([0.0, 30.0, 80.0, 50.0, 100.0], dtype=torch.float64).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 0, 1, 1])
    pairs = hard_pairs(features, labels, 2, negative_index=torch.tensor([3, 4, 3, 0, 1]),
                       negative_mix=torch.full((5,), 0.9), positive_mix=torch.full((5,), 0.25))  # fmt: skip
    assert pairs.hardest_positive.tolist() == [2, 2, 0, 4, 3]
    assert pairs.hardest_negative.tolist() == [3, 3, 4, 1, 2]
    # Sample 0: z⁻ = 0.1 z_0 + 0.9 z_3 and z⁺ = 0.25 z_2 + 0.75 z_3.
    assert torch.allclose(pairs.features[5], 0.1 * features[0] + 0.9 * features[3], atol=1e-7)
    assert torch.allclose(pairs.features[10], 0.25 * features[2] + 0.75 * features[3], atol=1e-7)
    assert torch.allclose(pairs.targets[5], torch.tensor([0.1, 0.9], dtype=torch.float64), atol=1e-7)
    assert torch.allclose(pairs.targets[10], torch.tensor([0.25, 0.75], dtype=torch.float64), atol=1e-7)
    assert pairs.positive_weights.tolist() == [1.0] * 10 + [0.25] * 5


@pytest.mark.parametrize("mining", ["hard", "random"])
def test_gradient_flows_through_all_that_is_mixed(mining: Mining) -> None:
    features, labels = sample(6, 3, 2, 1)
    assert torch.autograd.gradcheck(
        lambda x: hard_pairs(x, labels, 2, mining=mining, generator=generator()).features, (features.requires_grad_(),)
    )


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_mixing_weights_are_beta(alpha: float) -> None:
    features, labels = sample(4000, 2, 3, 0)
    pairs = hard_pairs(features, labels, 3, alpha=alpha, generator=generator(5), negative_floor=0.0)
    for mix in (pairs.negative_mix, pairs.positive_mix):
        assert_beta(mix, alpha)
    assert abs(stats.spearmanr(pairs.negative_mix.numpy(), pairs.positive_mix.numpy()).statistic) < 0.05


def test_the_same_generator_state_gives_the_same_pairs() -> None:
    features, labels = sample(9, 4, 3, 0)
    first, again = (hard_pairs(features, labels, 3, generator=generator(7)) for _ in range(2))
    assert torch.equal(first.features, again.features)
    other = hard_pairs(features, labels, 3, generator=generator(8))
    assert not torch.equal(first.features, other.features)
    # What is passed in place of a draw does not shift the other draws.
    fixed = hard_pairs(features, labels, 3, generator=generator(7), negative_mix=torch.ones(9))
    assert torch.equal(fixed.positive_mix, first.positive_mix)
    assert torch.equal(fixed.negative_index, first.negative_index)


def test_random_pairs_keep_all_other_draws() -> None:
    features, labels = sample(30, 4, 3, 0)
    hard, drawn = (hard_pairs(features, labels, 3, mining=mining, generator=generator(7)) for mining in MINING)
    for name in ("targets", "negative_index", "negative_mix", "positive_mix", "groups", "owner", "anchors"):
        rows = slice(60) if name == "targets" else slice(None)  # a hard positive's label is that of its partners
        assert torch.equal(getattr(hard, name)[rows], getattr(drawn, name)[rows]), name
    assert torch.equal(hard.features[:60], drawn.features[:60])
    assert not torch.equal(hard.hardest_positive, drawn.hardest_positive)
    assert not torch.equal(hard.hardest_negative, drawn.hardest_negative)
    # Features play no part in random pairs.
    other = hard_pairs(features.flip(0), labels, 3, mining="random", generator=generator(7))
    assert torch.equal(other.hardest_positive, drawn.hardest_positive)
    assert torch.equal(other.hardest_negative, drawn.hardest_negative)


def test_the_draws_of_hard_pairs_are_pinned() -> None:
    features, labels = sample(6, 4, 3, 0)
    stream = generator(7)
    mixes = draw_beta(1.0, (2, 6), stream)
    uniform = torch.rand((1, 6), dtype=torch.float64, generator=stream)
    own = generator(7)
    pairs = hard_pairs(features, labels, 3, generator=own)
    assert torch.equal(pairs.negative_mix, mixes[0].clamp_min(0.8)) and torch.equal(pairs.positive_mix, mixes[1])
    chosen = choose_partners("paper", "hard", features, labels, 3, uniform)
    assert torch.equal(pairs.negative_index, chosen.negative_index)
    assert torch.equal(own.get_state(), stream.get_state()), "nothing else is drawn"


@pytest.mark.parametrize("mining", ["hard", "random"])
def test_a_sample_alone_in_its_class_is_its_own_positive_and_no_anchor(mining: Mining) -> None:
    features, _ = sample(3, 4, 1, 0)
    pairs = hard_pairs(features, torch.tensor([0, 0, 1]), 2, mining=mining, generator=generator())
    assert pairs.has_positive.tolist() == [True, True, False]
    assert pairs.hardest_positive.tolist() == [1, 0, 2]
    assert pairs.owner.tolist() == [-1, -1, -1, 0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("mining", ["hard", "random"])
@pytest.mark.parametrize("n", [1, 4])
def test_one_class_gives_copies_that_nobody_sees(n: int, mining: Mining) -> None:
    features, _ = sample(n, 4, 1, 0)
    for given_mix in (None, torch.full((n,), 0.5)):
        pairs = hard_pairs(
            features,
            torch.full((n,), 2),
            3,
            mining=mining,
            generator=generator(),
            negative_mix=given_mix,
            positive_mix=given_mix,
        )
        assert torch.equal(pairs.features, features.repeat(3, 1))
        assert torch.equal(pairs.targets, torch.eye(3, dtype=torch.float64)[[2] * (3 * n)])
        assert pairs.owner.tolist() == [-1] * n + list(range(n, 3 * n))
        assert pairs.anchors[:n].tolist() == [n > 1] * n


@pytest.mark.parametrize("mining", ["hard", "random"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, mining: Mining) -> None:
    features, labels = sample(8, 6, 3, 2, dtype)
    half = hard_pairs(features, labels, 3, mining=mining, generator=generator())
    full = hard_pairs(features.float(), labels, 3, mining=mining, generator=generator())
    assert half.features.dtype == dtype and half.targets.dtype == torch.float32
    assert torch.equal(half.features, full.features.to(dtype))
    assert torch.equal(half.targets, full.targets)


def test_autocast_does_not_round() -> None:
    features, labels = sample(8, 6, 3, 2, torch.float32)
    plain = hard_pairs(features, labels, 3, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = hard_pairs(features, labels, 3, generator=generator())
    assert torch.equal(plain.features, cast.features)
    assert torch.equal(plain.hardest_positive, cast.hardest_positive)


def test_float64_stays() -> None:
    features, labels = sample(5, 3, 2, 0)
    pairs = hard_pairs(features, labels, 2, generator=generator())
    assert pairs.features.dtype == pairs.targets.dtype == pairs.negative_mix.dtype == torch.float64


def test_zeros_duplicates_and_extremes_are_finite() -> None:
    features = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3e38, 3e38], [1e-40, 0.0], [1.0, 1.0], [1.0, 1.0]])
    features.requires_grad_()
    pairs = hard_pairs(features, torch.tensor([0, 1, 0, 1, 0, 1]), 2, generator=generator())
    pairs.features.sum().backward()  # type: ignore[no-untyped-call]
    assert pairs.features.isfinite().all()
    assert features.grad is not None and features.grad.isfinite().all()


def test_nothing_depends_on_values_on_a_gpu() -> None:
    # Fake tensors have no values: reading one (`item`, `nonzero`, a bool index) raises.
    with FakeTensorMode():
        features = torch.empty(6, 4, device="cuda", requires_grad=True)
        labels = torch.empty(6, dtype=torch.int64, device="cuda")
        for mining in MINING:
            pairs = hard_pairs(features, labels, 3, mining=mining, generator=generator())
            assert pairs.features.shape == (18, 4) and pairs.targets.device.type == "cuda"
        pairs = hard_pairs(features, labels, 3, negative_index=labels, negative_mix=features[:, 0])
        assert pairs.positive_weights.shape == (18,)


X, Y = sample(4, 3, 2, 0)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"features": X.tolist()}, r"features: got list, need a floating tensor \(n, d\)"),
    ({"features": X[0]}, r"features: got shape \(3,\), need a floating tensor \(n, d\)"),
    ({"features": X[:0], "labels": Y[:0]}, r"features: got shape \(0, 3\)"),
    ({"features": X.long()}, r"features: got torch.int64"),
    ({"features": X * math.inf}, r"features: got -?inf at \[0, 0\], need finite values"),
    ({"labels": Y[:3]}, r"labels: got shape \(3,\), need an integer tensor \(4,\)"),
    ({"labels": X[:, 0]}, r"labels: got torch.float64, need an integer tensor \(4,\)"),
    ({"labels": Y + 5}, r"labels: got \d at \[0\], need values in \[0, 1\]"),
    ({"labels": Y - 2}, r"labels: got -\d at \[0\], need values in \[0, 1\]"),
    ({"num_classes": 0}, r"num_classes: got 0, need an integer >= 1"),
    ({"num_classes": 2.0}, r"num_classes: got 2.0, need an integer >= 1"),
    ({"variant": "other"}, r"variant: got 'other', need one of: paper, released"),
    ({"mining": "soft"}, r"mining: got 'soft', need one of: hard, random"),
    (
        {"variant": "released", "mining": "random"},
        r"mining: got 'random', need 'hard' for variant='released'; 'random' goes with variant='paper'",
    ),
    ({"grouping": "rounded"}, r"grouping: got 'rounded', need one of: exact, released_code"),
    ({"alpha": 0.0}, r"alpha: got 0.0, need a finite number > 0"),
    ({"alpha": "a"}, r"alpha: got 'a', need a finite number > 0"),
    ({"alpha": None}, r"alpha: got None, need a finite number > 0"),
    ({"negative_floor": "a"}, r"negative_floor: got 'a', need a finite number >= 0 and <= 1"),
    ({"positive_floor": None}, r"positive_floor: got None, need a finite number >= 0 and <= 1"),
    ({"num_classes": None}, r"num_classes: got None, need an integer >= 1"),
    ({"variant": None}, r"variant: got None, need one of: paper, released"),
    ({"mining": 1}, r"mining: got 1, need one of: hard, random"),
    ({"generator": 5}, r"generator: got 5, need a torch.Generator, one on the CPU.*; or None"),
    ({"negative_index": 3}, r"negative_index: got int, need an integer tensor \(4,\)"),
    ({"alpha": math.nan}, r"alpha: got nan, need a finite number > 0"),
    ({"negative_index": Y + 3}, r"negative_index: got 4 at \[\d\], need values in \[0, 3\]"),
    ({"negative_index": Y[:, None]}, r"negative_index: got shape \(4, 1\), need an integer tensor \(4,\)"),
    ({"negative_mix": torch.full((4,), 1.5)}, r"negative_mix: got 1.5 at \[0\], need values in \[0, 1\]"),
    ({"positive_mix": torch.full((4,), math.nan)}, r"positive_mix: got nan at \[0\], need values in \[0, 1\]"),
    ({"positive_mix": Y}, r"positive_mix: got torch.int64, need a floating tensor \(4,\)"),
    ({"negative_floor": 1.5}, r"negative_floor: got 1.5, need a finite number >= 0 and <= 1"),
    ({"positive_floor": -0.1}, r"positive_floor: got -0.1, need a finite number >= 0 and <= 1"),
    ({"labels": Y.to("meta")}, r"labels: got a tensor on meta, need one on cpu"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_wrong_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"features": X, "labels": Y, "num_classes": 2, **change}
    positional = [arguments.pop(name) for name in ("features", "labels", "num_classes")]
    with pytest.raises(ValueError, match=message):
        hard_pairs(*positional, **arguments)


def test_without_validation_a_nan_passes_through() -> None:
    features = X.clone()
    features[0, 0] = math.nan
    pairs = hard_pairs(features, Y, 2, generator=generator(), validate=False)
    assert pairs.features.isnan().any()
