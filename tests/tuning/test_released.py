"""The released variant against the script's steps, written out sample by sample in float32."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cuda import never_waited_for
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from coretune.tuning.losses import focal_contrastive, soft_cross_entropy
from coretune.tuning.mixup import HardPairs, hard_pairs
from coretune.tuning.released import GROUPINGS, MAX_CLASSES, Grouping, released_partners, soft_label_groups

torch.set_num_threads(1)


def sample(n: int, classes: int, seed: int, signed: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 5, generator=generator)
    return features if signed else features.relu(), torch.randint(classes, (n,), generator=generator)


def unit(row: Tensor) -> list[float]:
    values = row.double().tolist()
    length = max(math.sqrt(sum(value * value for value in values)), 1e-12)
    return [value / length for value in values]


def literal_partners(features: Tensor, labels: Tensor) -> tuple[list[int], list[int]]:
    """The loops of the script: masks as products, index 0 replaced."""
    n, rows = len(labels), [unit(row) for row in features]
    positives, negatives = [], []
    for i in range(n):
        cosine = [sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) for j in range(n)]
        masked = [cosine[j] if labels[j] == labels[i] and j != i else 0.0 for j in range(n)]
        best = min(range(n), key=lambda j: (masked[j], j))
        positives.append(i if best == 0 else best)
        other = [cosine[j] if labels[j] != labels[i] else 0.0 for j in range(n)]
        negatives.append(max(range(n), key=lambda j: (other[j], -j)))
    return positives, negatives


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6), st.booleans())
@settings(max_examples=80)
def test_partners_are_those_of_the_script(n: int, classes: int, seed: int, signed: bool) -> None:
    features, labels = sample(n, classes, seed, signed)
    positive, negative = released_partners(features, labels)
    assert (positive.tolist(), negative.tolist()) == literal_partners(features, labels)


@given(st.integers(1, 14), st.integers(1, 4), st.integers(0, 10**6), st.integers(1, 200))
@settings(max_examples=80)
def test_blocks_of_rows_do_not_change_the_partners(n: int, classes: int, seed: int, pairs: int) -> None:
    # Four ±1 or 0, of length 2 or 1: every cosine is exact, and many are equal, 0 or −0.
    generator = torch.Generator().manual_seed(seed)
    features = 2.0 * torch.randint(2, (n, 4), generator=generator) - 1
    single = torch.rand(n, generator=generator) < 0.5
    features[single] = features[single] * torch.eye(4)[torch.randint(4, (int(single.sum()),), generator=generator)]
    labels = torch.randint(classes, (n,), generator=generator)
    whole = released_partners(features, labels)
    assert (whole[0].tolist(), whole[1].tolist()) == literal_partners(features, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coretune.tuning.blocked.PAIRS", pairs)
        blocked = released_partners(features, labels)
    assert torch.equal(blocked[0], whole[0]) and torch.equal(blocked[1], whole[1])


@pytest.mark.parametrize("signed", [False, True])
def test_blocks_of_a_large_batch_do_not_change_the_partners(signed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(500, 64, generator=generator), torch.randint(10, (500,), generator=generator)
    features = features if signed else features.relu()
    whole = released_partners(features, labels)
    monkeypatch.setattr("coretune.tuning.blocked.PAIRS", 500 * 37)
    blocked = released_partners(features, labels)
    assert torch.equal(blocked[0], whole[0]) and torch.equal(blocked[1], whole[1])
    if not signed:
        assert (whole[0] == torch.arange(500)).any(), "index 0 was replaced in every block alike"


def test_after_a_relu_the_true_hardest_positive_is_never_taken() -> None:
    """The known fault of the script: zeros of non-positives are smaller than every cosine."""
    features, labels = sample(64, 8, 0, signed=False)
    positive, _ = released_partners(features, labels)
    itself = (positive == torch.arange(64)).float().mean().item()
    pairs = hard_pairs(features, labels, 8)
    true = (positive == pairs.hardest_positive) & pairs.has_positive & (positive != torch.arange(64))
    assert itself > 0.8 and not true.any()
    signed, labels = sample(64, 8, 0)
    positive, _ = released_partners(signed, labels)
    pairs = hard_pairs(signed, labels, 8)
    assert (positive == pairs.hardest_positive).float().mean() > 0.8


def literal_rows(
    features: Tensor, labels: Tensor, classes: int, shuffle: list[int], low: list[float], high: list[float]
) -> tuple[list[Tensor], list[dict[int, float]]]:
    """Rows and soft labels (class → weight) of originals, hard negatives, hard positives."""
    positive, negative = literal_partners(features, labels)
    rows, soft = [row.detach() for row in features], [{int(label): 1.0} for label in labels]

    def mixed(first: int, second: int, weight: float) -> None:
        rows.append(weight * features[first] + (1 - weight) * features[second])
        found: dict[int, float] = {}
        for index, share in ((first, weight), (second, 1 - weight)):
            found[int(labels[index])] = found.get(int(labels[index]), 0.0) + share
        soft.append(
            {c: share for c, share in found.items() if share > 0} if len(found) > 1 else dict.fromkeys(found, 1.0)
        )

    for i in range(len(labels)):
        mixed(i, shuffle[i], 1 - low[i])
    for i in range(len(labels)):
        mixed(positive[i], negative[i], high[i])
    assert classes > max(max(row) for row in soft)
    return rows, soft


def literal_contrast(z: Tensor, alike: list[list[bool]], temperature: float) -> Tensor:
    """Sum over rows of the mean over all columns, divided by the number of rows with a positive."""
    n, total, rows = len(z), (z * 0).sum(), 0
    for i in range(n):
        mass = sum(torch.exp(z[i] @ z[j] / temperature) for j in range(n) if j != i)
        inner = torch.zeros((), dtype=z.dtype)
        for k in range(n):
            if k != i and alike[i][k]:
                log_p = z[i] @ z[k] / temperature - torch.log(mass)  # type: ignore[arg-type]
                inner = inner + (1 - torch.exp(log_p)) * log_p
        total = total - inner / n
        rows += any(alike[i][k] for k in range(n) if k != i)
    return total / rows if rows else total


DRAWS = st.lists(st.sampled_from([0.8, 0.8, 0.9, 1.0]), min_size=9, max_size=9)


@given(st.integers(2, 9), st.integers(2, 4), st.integers(0, 10**6), DRAWS, st.booleans())
@settings(max_examples=60)
def test_features_targets_losses_and_gradients_are_those_of_the_script(
    n: int, classes: int, seed: int, low: list[float], signed: bool
) -> None:
    features, labels = sample(n, classes, seed, signed)
    generator = torch.Generator().manual_seed(seed)
    shuffle = torch.randperm(n, generator=generator)
    high = torch.rand(n, generator=generator)
    heads = torch.nn.Linear(5, classes, bias=False), torch.nn.Linear(5, 3)
    found: list[tuple[Tensor, ...]] = []
    for exact in (False, True):
        x = features.clone().requires_grad_()
        if exact:
            rows, soft = literal_rows(x, labels, classes, shuffle.tolist(), low[:n], high.tolist())
            stacked = torch.stack(rows)
            targets = torch.tensor([[row.get(c, 0.0) for c in range(classes)] for row in soft])
            alike = [[same_soft(a, b) for b in soft] for a in soft]
        else:
            pairs = released(x, labels, classes, shuffle, torch.tensor(low[:n]), high)
            stacked, targets = pairs.features, pairs.targets
        z = torch.nn.functional.normalize(heads[1](stacked))
        log_q = torch.log_softmax(heads[0](stacked), dim=1)
        if exact:
            cross_entropy = -(targets * log_q).sum() / (3 * n)
            contrast = literal_contrast(z, alike, 0.3)
        else:
            cross_entropy = soft_cross_entropy(heads[0](stacked), targets)
            contrast = focal_contrastive(z, pairs.groups, temperature=0.3, normalizer="batch")
        parameters = [x, *heads[0].parameters(), *heads[1].parameters()]
        gradients = torch.autograd.grad(cross_entropy + contrast, parameters)
        found.append((stacked.detach(), targets, cross_entropy.detach(), contrast.detach(), *gradients))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def same_soft(one: dict[int, float], other: dict[int, float]) -> bool:
    return one.keys() == other.keys() and all(
        torch.tensor(one[c]).equal(torch.tensor(other[c])) or abs(one[c] - other[c]) < 1e-9 for c in one
    )


def released(x: Tensor, labels: Tensor, classes: int, shuffle: Tensor, low: Tensor, high: Tensor) -> HardPairs:
    return hard_pairs(
        x, labels, classes, variant="released", negative_index=shuffle, negative_mix=low, positive_mix=high
    )


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("detach", [None, False, True])
def test_detached_originals_pass_no_gradient(variant: str, detach: bool | None) -> None:
    features, labels = sample(6, 3, 1)
    features.requires_grad_()
    pairs = hard_pairs(features, labels, 3, variant=variant, detach_originals=detach)  # type: ignore[arg-type]
    (originals,) = torch.autograd.grad(pairs.features[:6].sum(), features, retain_graph=True)
    (mixtures,) = torch.autograd.grad(pairs.features[6:].sum(), features)
    detached = variant == "released" if detach is None else detach
    assert bool((originals == (0 if detached else 1)).all())
    assert bool(mixtures.any())


def test_the_shuffle_is_a_permutation_that_may_keep_a_class() -> None:
    features, labels = sample(200, 2, 3)
    pairs = hard_pairs(features, labels, 2, variant="released", generator=torch.Generator().manual_seed(0))
    assert sorted(pairs.negative_index.tolist()) == list(range(200))
    kept = (labels[pairs.negative_index] == labels).float().mean()
    assert 0.3 < kept < 0.7
    assert pairs.negative_mix.min() >= 0.8 and pairs.positive_mix.min() < 0.2
    assert bool(pairs.anchors.all()) and bool((pairs.owner == -1).all())


def test_equal_soft_labels_are_one_group_and_no_others() -> None:
    labels = torch.tensor([0, 1, 0, 2])
    partners = torch.tensor([[0, 1], [1, 0], [0, 2], [3, 1], [0, 3], [0, 1]])
    weight = torch.tensor([0.25, 0.75, 0.3, 1.0, 0.0, 0.2])
    weights = torch.stack([weight, 1 - weight], dim=1)
    groups = soft_label_groups(labels, partners, weights, 3, torch.zeros(10, 3), "exact").tolist()
    assert groups[0] == groups[2] == groups[6], "class 0, also as a mixture of class 0 with itself"
    assert groups[3] == groups[7] == groups[8], "class 2, also as all of a mixture"
    assert groups[4] == groups[5], "a quarter of class 0 and three of class 1, whichever comes first"
    assert len(set(groups)) == 5


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6))
@settings(max_examples=60)
def test_groups_are_equality_of_the_targets(n: int, classes: int, seed: int) -> None:
    features, labels = sample(n, classes, seed)
    pairs = hard_pairs(features, labels, classes, variant="released", generator=torch.Generator().manual_seed(seed))
    same = (pairs.targets[:, None] == pairs.targets).all(dim=2)
    assert torch.equal(pairs.groups[:, None] == pairs.groups, same)


def test_the_scripts_codes_collide_and_overflow() -> None:
    soft = torch.tensor([[0.2, 0.8], [0.0, 0.82], [1.0, 0.0]])
    nothing = torch.empty(0, 2, dtype=torch.int64)
    labels = torch.zeros(3, dtype=torch.int64)
    codes = soft_label_groups(labels, nothing, nothing.float(), 2, soft, "released_code")
    assert codes[0] == codes[1] != codes[2], "0.2 + 8 = 8.2 = 0.82 · 10: a sum is no name"
    many = torch.eye(80)
    codes = soft_label_groups(labels, nothing, nothing.float(), 80, many, "released_code")
    assert len(set(codes[:19].tolist())) == 19 and len(set(codes[64:].tolist())) == 1, "10^64 wraps to 0"


def test_too_many_classes_for_exact_groups_are_refused() -> None:
    nothing = torch.empty(0, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"num_classes: got {MAX_CLASSES + 1}, need at most {MAX_CLASSES}"):
        soft_label_groups(nothing[:, 0], nothing, nothing.float(), MAX_CLASSES + 1, torch.empty(0, 1), "exact")


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_nothing_depends_on_values_on_a_gpu(grouping: Grouping) -> None:
    # Fake tensors have no values: reading one (`item`, `nonzero`, a bool index) raises.
    with FakeTensorMode():
        features = torch.empty(6, 4, device="cuda", requires_grad=True)
        labels = torch.empty(6, dtype=torch.int64, device="cuda")
        pairs = hard_pairs(
            features, labels, 3, variant="released", grouping=grouping, generator=torch.Generator().manual_seed(0)
        )
        loss = focal_contrastive(pairs.features.detach(), pairs.groups, normalizer="batch")
        loss = loss + soft_cross_entropy(pairs.features[:, :3], pairs.targets)
        assert loss.shape == () and loss.device.type == "cuda"
        with pytest.raises(Exception, match="_local_scalar_dense"):
            pairs.groups[0].item()


@pytest.mark.gpu
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_gpu_is_never_waited_for(grouping: Grouping) -> None:
    features, labels = sample(6, 3, 0)
    features, labels = features.cuda().requires_grad_(), labels.cuda()
    generator = torch.Generator().manual_seed(0)

    def step() -> Tensor:
        pairs = hard_pairs(features, labels, 3, variant="released", grouping=grouping, generator=generator)
        z = torch.nn.functional.normalize(pairs.features, dim=1)
        loss = soft_cross_entropy(pairs.features[:, :3], pairs.targets)
        loss = loss + focal_contrastive(z, pairs.groups, normalizer="batch")
        (gradient,) = torch.autograd.grad(loss, features)
        return gradient

    step()
    with never_waited_for():
        gradient = step()
    assert gradient.isfinite().all()
