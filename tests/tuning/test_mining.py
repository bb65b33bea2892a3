"""Who is mixed with whom: scale and blocks do not matter, ties go to the first, draws are uniform."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from coretune.tuning.mining import choose_partners
from coretune.tuning.mixup import hard_pairs

torch.set_num_threads(1)


def sample(n: int, d: int, classes: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype)
    return features, torch.randint(classes, (n,), generator=generator)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_uniform_says_which_negative_is_drawn(variant: str) -> None:
    features, labels = sample(5, 3, 2, 0)[0], torch.tensor([0, 1, 0, 1, 0])
    uniforms = torch.tensor([0.0, 0.4, 0.99, 0.99, 0.5], dtype=torch.float64)
    found = choose_partners(variant, "hard", features, labels, 2, uniforms[None])  # type: ignore[arg-type]
    if variant == "paper":
        assert found.negative_index.tolist() == [1, 2, 3, 4, 3], "the ⌊u·m⌋-th of the m others, by class and index"
    else:
        assert sorted(found.negative_index.tolist()) == [0, 1, 2, 3, 4], "a shuffle"
    assert bool(found.has_positive.all()) and bool(found.mixable.all())


@given(st.integers(2, 12), st.integers(0, 10**6), st.integers(-120, 120))
@settings(max_examples=40)
def test_the_choice_does_not_depend_on_scale(n: int, seed: int, exponent: int) -> None:
    features, labels = sample(n, 5, 3, seed, torch.float32)
    rows = 2.0 ** (exponent * torch.linspace(-1, 1, n))
    plain, scaled = (hard_pairs(x, labels, 3, generator=generator()) for x in (features, features * rows[:, None]))
    assert torch.equal(plain.hardest_positive, scaled.hardest_positive)
    assert torch.equal(plain.hardest_negative, scaled.hardest_negative)


def test_ties_go_to_the_lowest_index_whatever_the_size() -> None:
    # Duplicates: a matrix product may round their equal cosines differently at the edge of a block.
    base = torch.randn(3, 37, generator=generator(4))
    features = base.repeat(33, 1) * torch.linspace(0.1, 3, 99)[:, None]
    labels = torch.arange(99) % 3
    pairs = hard_pairs(features, labels, 3, generator=generator())
    assert set(pairs.hardest_negative.tolist()) <= {0, 1, 2}
    assert pairs.hardest_positive.tolist() == [3, 4, 5] + [i % 3 for i in range(3, 99)]


@given(st.integers(1, 14), st.integers(1, 5), st.integers(0, 10**6), st.booleans(), st.integers(1, 200))
@settings(max_examples=60)
def test_blocks_of_rows_do_not_change_the_choice(n: int, classes: int, seed: int, coarse: bool, pairs: int) -> None:
    features, labels = sample(n, 4, classes, seed, torch.float32)
    if coarse:
        features = features.round()
    whole = hard_pairs(features, labels, 5, generator=generator())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coretune.tuning.blocked.PAIRS", pairs)
        blocked = hard_pairs(features, labels, 5, generator=generator())
    assert torch.equal(blocked.hardest_positive, whole.hardest_positive)
    assert torch.equal(blocked.hardest_negative, whole.hardest_negative)


def test_blocks_of_a_large_batch_do_not_change_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = sample(500, 64, 10, 0, torch.float32)
    whole = hard_pairs(features, labels, 10, generator=generator())
    monkeypatch.setattr("coretune.tuning.blocked.PAIRS", 500 * 37)
    blocked = hard_pairs(features, labels, 10, generator=generator())
    assert torch.equal(blocked.hardest_positive, whole.hardest_positive)
    assert torch.equal(blocked.hardest_negative, whole.hardest_negative)


def test_negatives_are_uniform_over_true_negatives() -> None:
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    counts = torch.zeros(6, 6)
    features = torch.randn(6, 2, generator=generator())
    stream = generator(3)
    for _ in range(800):
        drawn = hard_pairs(features, labels, 3, generator=stream, validate=False).negative_index
        counts[torch.arange(6), drawn] += 1
    for i in range(6):
        others = labels != labels[i]
        assert counts[i][~others].sum() == 0
        assert stats.chisquare(counts[i][others].numpy()).pvalue > 0.001


def literal_random(labels: Tensor, uniforms: Tensor) -> tuple[list[int], list[int]]:
    """The ⌊u·m⌋-th of the m candidates, sorted by (class, index), with loops; i itself where there is none."""
    y = labels.tolist()
    chosen: tuple[list[int], list[int]] = ([], [])
    for i in range(len(y)):
        for same, row, found in ((True, 1, chosen[0]), (False, 2, chosen[1])):
            candidates = sorted((y[j], j) for j in range(len(y)) if j != i and (y[j] == y[i]) == same)
            place = int(float(uniforms[row, i]) * len(candidates))
            found.append(candidates[min(place, len(candidates) - 1)][1] if candidates else i)
    return chosen


@given(st.integers(1, 14), st.integers(1, 5), st.integers(0, 10**6), st.booleans())
@settings(max_examples=80)
def test_random_partners_equal_the_definition(n: int, classes: int, seed: int, extreme: bool) -> None:
    features, labels = sample(n, 3, classes, seed)
    uniforms = torch.rand(3, n, generator=generator(seed), dtype=torch.float64)
    if extreme:  # 0, and the largest that is below 1 before it is rounded to float32
        uniforms = (uniforms > 0.5).float()
    found = choose_partners("paper", "random", features, labels, 5, uniforms)
    positives, negatives = literal_random(labels, uniforms)
    assert found.hardest_positive.tolist() == positives
    assert found.hardest_negative.tolist() == negatives
    hard = choose_partners("paper", "hard", features, labels, 5, uniforms[:1])
    for name in ("negative_index", "has_positive", "mixable"):
        assert torch.equal(getattr(found, name), getattr(hard, name))


def test_random_partners_are_uniform_and_drawn_apart() -> None:
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 0, 1])
    size, rounds = labels.shape[0], 2000
    features = torch.randn(size, 2, generator=generator())
    stream = generator(3)
    positives, negatives, joint = (torch.zeros(size, size) for _ in range(3))
    rows = torch.arange(size)
    for _ in range(rounds):
        pairs = hard_pairs(features, labels, 3, mining="random", generator=stream, validate=False)
        positives[rows, pairs.hardest_positive] += 1
        negatives[rows, pairs.hardest_negative] += 1
        joint[pairs.negative_index[0], pairs.hardest_negative[0]] += 1
    for i in range(size):
        same, other = (labels == labels[i]) & (rows != i), labels != labels[i]
        if i == 3:  # alone in its class
            assert positives[i, i] == rounds
        else:
            assert positives[i][~same].sum() == 0
            assert stats.chisquare(positives[i][same].numpy()).pvalue > 0.001
        assert negatives[i][~other].sum() == 0
        assert stats.chisquare(negatives[i][other].numpy()).pvalue > 0.001
    others = labels != labels[0]
    assert stats.chi2_contingency(joint[others][:, others].numpy()).pvalue > 0.001


def literal_in_domains(
    pairs: str, mining: str, features: Tensor, labels: Tensor, domains: Tensor, uniforms: Tensor
) -> dict[str, list[int]]:
    """Partners and fallbacks with loops, from candidate lists; i itself where there is no candidate at all."""
    n, y, e = len(labels), labels.tolist(), domains.tolist()
    unit = torch.nn.functional.normalize(features, dim=1)
    cosine = [[float(unit[i] @ unit[j]) for j in range(n)] for i in range(n)]
    found: dict[str, list[int]] = {name: [] for name in ("k", "hp", "hn", "fallback+", "fallback-")}
    for i in range(n):
        for same, names in ((True, ("hp",)), (False, ("k", "hn"))):
            everywhere = sorted((y[j], j) for j in range(n) if j != i and (y[j] == y[i]) == same)
            wanted = [(c, j) for c, j in everywhere if (e[j] == e[i]) == (pairs == "within_domain")]
            found["fallback+" if same else "fallback-"].append(bool(everywhere) and not wanted)
            candidates = wanted or everywhere
            for name in names:
                if not candidates:
                    found[name].append(i)
                elif name == "k" or mining == "random":
                    u = float(uniforms[{"k": 0, "hp": 1, "hn": 2}[name], i])
                    found[name].append(candidates[min(int(u * len(candidates)), len(candidates) - 1)][1])
                else:
                    sign = 1 if same else -1
                    best = min(sign * cosine[i][j] for _, j in candidates)
                    found[name].append(min(j for _, j in candidates if sign * cosine[i][j] <= best + 1e-12))
    return found


@given(st.integers(1, 14), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6), st.integers(1, 200), st.data())
@settings(max_examples=120)
def test_partners_across_and_within_domains_equal_the_definition(
    n: int, classes: int, number: int, seed: int, block: int, data: st.DataObject
) -> None:
    pairs = data.draw(st.sampled_from(["cross_domain", "within_domain"]))
    mining = data.draw(st.sampled_from(["hard", "random"]))
    features, labels = sample(n, 3, classes, seed)
    domains = torch.randint(number, (n,), generator=generator(seed))
    uniforms = torch.rand(3, n, generator=generator(seed), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coretune.tuning.blocked.PAIRS", block)
        found = choose_partners(
            mining=mining,
            variant="paper",
            features=features,
            labels=labels,
            num_classes=4,
            uniforms=uniforms,
            pairs=pairs,
            domains=domains,
        )
    expected = literal_in_domains(pairs, mining, features, labels, domains, uniforms)
    assert found.positive_fallback.tolist() == expected["fallback+"]
    assert found.negative_fallback.tolist() == expected["fallback-"]
    assert found.hardest_positive.tolist() == expected["hp"]
    assert found.hardest_negative.tolist() == expected["hn"]
    assert found.negative_index[found.mixable].tolist() == torch.tensor(expected["k"])[found.mixable].tolist()


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from(["hard", "random"]))
@settings(max_examples=60)
def test_a_single_domain_is_no_restriction_and_what_falls_back_is_as_without(
    n: int, classes: int, seed: int, mining: Any
) -> None:
    features, labels = sample(n, 3, classes, seed)
    uniforms = torch.rand(3, n, generator=generator(seed), dtype=torch.float64)
    plain = choose_partners("paper", mining, features, labels, 4, uniforms)
    one = torch.zeros(n, dtype=torch.int64)
    for pairs in ("within_domain", "cross_domain"):
        found = choose_partners("paper", mining, features, labels, 4, uniforms, pairs=pairs, domains=one)  # type: ignore[arg-type]
        assert torch.equal(found.hardest_positive, plain.hardest_positive)
        assert torch.equal(found.hardest_negative, plain.hardest_negative)
        assert torch.equal(found.negative_index[found.mixable], plain.negative_index[found.mixable])
        across = pairs == "cross_domain"
        assert torch.equal(found.positive_fallback, plain.has_positive & across)
        assert torch.equal(found.negative_fallback, plain.mixable & across)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": "cross_domain"}, "domains.*the domain of each sample"),
        ({"pairs": "across"}, "pairs.*any.*cross_domain.*within_domain"),
        ({"pairs": "within_domain", "domains": torch.zeros(3).long()}, "domains"),
        ({"pairs": "within_domain", "domains": torch.zeros(4)}, "domains"),
        ({"pairs": "within_domain", "domains": torch.zeros(4).long(), "variant": "released"}, "'any' for variant"),
    ],
)
def test_pairs_of_some_domains_need_domains(options: dict[str, Any], message: str) -> None:
    features, labels = sample(4, 3, 2, 0)
    with pytest.raises(ValueError, match=message):
        hard_pairs(features, labels, 2, **options)
