"""Alignment and uniformity: closed forms, literal pairs, invariances, blocks, what is not defined, errors."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.tuning.diagnostics import alignment, blocks, class_alignment, uniformity

torch.set_num_threads(1)


def unit(n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


def literal(z: Tensor, labels: Tensor, t: float) -> tuple[float, float, float]:
    """Alignment by class, uniformity, and uniformity between classes, pair by pair."""
    y = labels.tolist()
    squares = {(i, j): float(((z[i] - z[j]) ** 2).sum()) for i, j in combinations(range(len(y)), 2)}
    by_class = [[v for (i, j), v in squares.items() if y[i] == y[j] == c] for c in sorted(set(y))]
    paired = [sum(values) / len(values) for values in by_class if values]
    kernels = {pair: math.exp(-t * value) for pair, value in squares.items()}
    apart = [value for (i, j), value in kernels.items() if y[i] != y[j]]
    return (
        sum(paired) / len(paired) if paired else math.nan,
        math.log(sum(kernels.values()) / len(kernels)) if kernels else math.nan,
        math.log(sum(apart) / len(apart)) if apart else math.nan,
    )


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), n=st.integers(1, 14), d=st.integers(1, 6), t=st.floats(0.1, 10))
def test_they_are_the_formulas_whatever_the_order_and_the_rotation(seed: int, n: int, d: int, t: float) -> None:
    z = unit(n, d, seed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    order = torch.randperm(n, generator=generator)
    expected = literal(z, labels, t)
    for points, classes in ((z, labels), (z[order] @ turn, labels[order])):
        found = class_alignment(points, classes), uniformity(points, t=t), uniformity(points, classes, t=t)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
    assert -4 * t <= expected[1] <= 1e-12 or n == 1


def test_as_the_source_computes_it() -> None:
    x, y = unit(30, 5, 0), unit(30, 5, 1)
    assert uniformity(x) == pytest.approx(float(torch.pdist(x).pow(2).mul(-2).exp().mean().log()), rel=1e-12)
    for alpha in (1.0, 2.0):
        assert alignment(x, y, alpha=alpha) == pytest.approx(float((x - y).norm(dim=1).pow(alpha).mean()), rel=1e-12)


def test_by_class_is_alignment_over_all_pairs_of_a_class() -> None:
    z = unit(6, 4, 0)
    pairs = torch.combinations(torch.arange(6))
    expected = alignment(z[pairs[:, 0]], z[pairs[:, 1]])
    assert class_alignment(z, torch.zeros(6, dtype=torch.int64)) == pytest.approx(expected, rel=1e-12)


def test_known_points() -> None:
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert alignment(opposite, -opposite) == 4.0
    assert alignment(opposite, opposite) == 0.0
    assert uniformity(opposite) == pytest.approx(-8.0)
    classes = opposite.repeat_interleave(3, dim=0)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert class_alignment(classes, labels) == 0.0
    assert uniformity(classes, labels) == pytest.approx(-8.0)
    assert uniformity(classes) == pytest.approx(math.log((6 + 9 * math.exp(-8)) / 15))
    assert class_alignment(opposite, torch.zeros(2, dtype=torch.int64)) == 4.0


def test_a_sharp_kernel_does_not_vanish() -> None:
    z = torch.eye(3, dtype=torch.float64)
    assert uniformity(z, t=1000.0) == pytest.approx(-2000.0)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    z, labels = unit(23, 4, 0), torch.arange(23) % 3
    whole = uniformity(z), uniformity(z, labels)
    monkeypatch.setattr(blocks, "ENTRIES", 50)
    assert (uniformity(z), uniformity(z, labels)) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (1, 1), (7, 10), (7, 100), (100, 1)])
def test_blocks_cover_all_rows_once(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ENTRIES", 30)
    found = list(blocks.row_blocks(rows, columns))
    assert [i for part in found for i in range(rows)[part]] == list(range(rows))
    assert all((part.stop - part.start) * columns <= 30 or part.stop - part.start == 1 for part in found)


def test_what_is_not_defined() -> None:
    assert math.isnan(uniformity(torch.ones(1, 1)))
    assert math.isnan(uniformity(unit(4, 2, 0), torch.zeros(4, dtype=torch.int64)))
    assert math.isnan(class_alignment(unit(4, 2, 0), torch.arange(4)))
    zeros = torch.zeros(4, 3)
    assert uniformity(zeros) == 0.0 and class_alignment(zeros, torch.arange(4) % 2) == 0.0


def test_wrong_arguments() -> None:
    z = torch.eye(3)
    with pytest.raises(ValueError, match=r"y: got shape \(2, 3\), need a floating tensor \(3, 3\)"):
        alignment(z, z[:2])
    with pytest.raises(ValueError, match="alpha: got 0, need a finite number > 0"):
        alignment(z, z, alpha=0)
    with pytest.raises(ValueError, match="t: got nan"):
        uniformity(z, t=math.nan)
    with pytest.raises(ValueError, match=r"labels: got shape \(2,\)"):
        uniformity(z, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="z: got nan"):
        uniformity(z * torch.nan)
