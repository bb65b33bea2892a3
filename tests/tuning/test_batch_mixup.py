"""Mixup of a batch against literal loops, its distribution, properties and errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.cuda import never_waited_for
from torch import Tensor

from coretune.tuning.batch_mixup import batch_mixup

torch.set_num_threads(1)
CLASSES = 3


def sample(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=draws, dtype=torch.float64).to(dtype), torch.randint(
        CLASSES, (n,), generator=draws
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([1e-3, 0.2, 1.0, 2.0, 50.0]))
@settings(max_examples=60)
def test_mixtures_equal_the_definition(n: int, seed: int, alpha: float) -> None:
    values, labels = sample(n, seed)
    found = batch_mixup(values, labels, CLASSES, alpha=alpha, generator=generator(seed))
    mix, partner, classes = float(found.mix), found.partner.tolist(), labels.tolist()
    assert sorted(partner) == list(range(n)), "a permutation"
    assert 0 <= mix <= 1
    for i, j in enumerate(partner):
        for k in range(4):
            expected = mix * float(values[i, k]) + (1 - mix) * float(values[j, k])
            assert float(found.values[i, k]) == pytest.approx(expected, abs=1e-12)
        for c in range(CLASSES):
            share = mix * (classes[i] == c) + (1 - mix) * (classes[j] == c)
            assert float(found.targets[i, c]) == pytest.approx(share, abs=1e-12)


def test_the_weight_is_drawn_from_the_beta_distribution() -> None:
    values, labels = sample(2)
    for alpha in (0.3, 2.0):
        draws = [
            float(batch_mixup(values, labels, CLASSES, alpha=alpha, generator=generator(s)).mix) for s in range(800)
        ]
        assert stats.kstest(draws, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_partners_are_uniform() -> None:
    values, labels = sample(3)
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(600):
        found = batch_mixup(values, labels, CLASSES, alpha=1.0, generator=generator(seed))
        order = tuple(found.partner.tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
def test_a_batch_of_one_is_unchanged(alpha: float) -> None:
    values, labels = sample(1)
    found = batch_mixup(values, labels, CLASSES, alpha=alpha, generator=generator())
    torch.testing.assert_close(found.values, values)
    torch.testing.assert_close(found.targets, torch.eye(CLASSES, dtype=torch.float64)[labels])


def test_images_are_mixed_whole_and_stay_in_their_memory_format() -> None:
    images = torch.rand(5, 3, 4, 6, generator=generator()).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    found = batch_mixup(images, torch.zeros(5, dtype=torch.int64), CLASSES, alpha=1.0, generator=generator(1))
    mix = found.mix.float()
    torch.testing.assert_close(found.values, mix * images + (1 - mix) * images[found.partner])
    assert found.values.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before), "the originals are not written to"


def test_draws_come_from_the_generator_alone() -> None:
    values, labels = sample(6)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two, other = (batch_mixup(values, labels, CLASSES, alpha=1.0, generator=generator(s)) for s in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.values, two.values) and torch.equal(one.targets, two.targets)
    assert one.mix != other.mix


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cast", [False, True], ids=["plain", "autocast"])
def test_half_precision_is_mixed_in_single_and_rounded_once(dtype: torch.dtype, cast: bool) -> None:
    values, labels = sample(7, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
        found = batch_mixup(values, labels, CLASSES, alpha=1.0, generator=generator(2))
    exact = batch_mixup(values.float(), labels, CLASSES, alpha=1.0, generator=generator(2))
    assert found.values.dtype == dtype and torch.equal(found.values, exact.values.to(dtype))
    assert found.targets.dtype == torch.float32 and torch.equal(found.targets, exact.targets)


def test_gradient() -> None:
    values, labels = sample(5)
    assert torch.autograd.gradcheck(
        lambda x: batch_mixup(x, labels, CLASSES, alpha=1.0, generator=generator(3)).values, (values.requires_grad_(),)
    )


VALUES, LABELS = sample(4)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"values": torch.tensor(1.0)}, r"values: got shape \(\), need a floating tensor \(n,\)"),
    ({"values": torch.zeros(0, 4)}, r"values: got shape \(0, 4\), need a floating tensor \(n, 4\)"),
    ({"values": VALUES.long()}, r"values: got torch.int64, need a floating tensor"),
    ({"labels": LABELS[:3]}, r"labels: got shape \(3,\), need an integer tensor \(4,\)"),
    ({"labels": LABELS.double()}, r"labels: got torch.float64, need an integer tensor"),
    ({"labels": torch.full((4,), CLASSES)}, r"labels: got 3 at \[0\], need values in \[0, 2\]"),
    ({"num_classes": 0}, r"num_classes: got 0, need an integer >= 1"),
    ({"num_classes": True}, r"num_classes: got True, need an integer >= 1"),
    ({"alpha": 0.0}, r"alpha: got 0.0, need a finite number > 0"),
    ({"alpha": "a"}, r"alpha: got 'a', need a finite number > 0"),
    ({"alpha": None}, r"alpha: got None, need a finite number > 0"),
    ({"generator": 5}, r"generator: got 5, need a torch.Generator, one on the CPU"),
    ({"alpha": float("nan")}, r"alpha: got nan, need a finite number > 0"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[f"{next(iter(c))}-{i}" for i, (c, _) in enumerate(WRONG)])
def test_wrong_arguments(change: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"values": VALUES, "labels": LABELS, "num_classes": CLASSES, "alpha": 1.0}
    with pytest.raises(ValueError, match=message):
        batch_mixup(**{**right, **change})


@pytest.mark.gpu
def test_nothing_waits_for_a_gpu() -> None:
    values, labels = sample(6)
    expected = batch_mixup(values, labels, CLASSES, alpha=1.0, generator=generator(2))
    moved, classes = values.cuda(), labels.cuda()
    with never_waited_for():
        found = batch_mixup(moved, classes, CLASSES, alpha=1.0, generator=generator(2))
    torch.testing.assert_close(found.values.cpu(), expected.values)
    torch.testing.assert_close(found.targets.cpu(), expected.targets)
