"""Neural collapse: 0 on a simplex, closed forms, literal matrices, invariances, what is not defined, errors."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.tuning.diagnostics import NeuralCollapse, centre_disagreement, class_means, neural_collapse

torch.set_num_threads(1)


def simplex(classes: int, d: int, seed: int = 0) -> Tensor:
    """(classes, d) unit vectors of a simplex equiangular tight frame, in a random orientation."""
    generator = torch.Generator().manual_seed(seed)
    frame = torch.linalg.qr(torch.randn(d, classes, generator=generator, dtype=torch.float64)).Q
    centring = torch.eye(classes, dtype=torch.float64) - 1 / classes
    return math.sqrt(classes / (classes - 1)) * centring @ frame.T


def cloud(n: int, d: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    means = 2 * torch.randn(classes, d, generator=generator, dtype=torch.float64)
    return means[labels] + torch.randn(n, d, generator=generator, dtype=torch.float64), labels


def rotation(d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q


def literal(features: Tensor, labels: Tensor, weight: Tensor, logits: Tensor) -> NeuralCollapse:
    """The definitions, with d × d matrices, a pseudo-inverse, and loops over samples and pairs of classes."""
    h, y, w = features.numpy(), labels.tolist(), weight.numpy()
    present = sorted(set(y))
    members = {c: [h[i] for i in range(len(y)) if y[i] == c] for c in present}
    mu = {c: np.mean(members[c], axis=0) for c in present}
    centre = np.mean([mu[c] for c in present], axis=0)
    m = np.stack([mu[c] - centre for c in present])
    between = sum(np.outer(row, row) for row in m) / len(present)
    within = sum(sum(np.outer(p - mu[c], p - mu[c]) for p in members[c]) / len(members[c]) for c in present) / len(
        present
    )
    lengths = [float(np.linalg.norm(row)) for row in m]
    cosines = [float(m[a] @ m[b] / lengths[a] / lengths[b]) for a, b in permutations(range(len(present)), 2)]
    rows = np.stack([w[c] for c in present])
    nearest = [min(present, key=lambda c: float(np.linalg.norm(point - mu[c]))) for point in h]
    chosen = logits.numpy().argmax(axis=1)
    return NeuralCollapse(
        nc1=float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10))) / len(present),
        nc2_equinorm=float(np.std(lengths) / np.mean(lengths)),
        nc2_equiangular=float(np.std(cosines)),
        nc2_max_angle=float(np.mean([abs(c + 1 / (len(present) - 1)) for c in cosines])),
        nc3=float(((rows / np.linalg.norm(rows) - m / np.linalg.norm(m)) ** 2).sum()),
        nc4=sum(a != b for a, b in zip(nearest, chosen, strict=True)) / len(y),
    )


@pytest.mark.parametrize(("classes", "d"), [(2, 2), (3, 8), (10, 10), (10, 64)])
def test_a_simplex_is_collapsed(classes: int, d: int) -> None:
    means = simplex(classes, d)
    labels = torch.arange(classes).repeat(4)
    features = 7 * means[labels] + 3
    found = neural_collapse(features, labels, weight=2 * means, logits=(features - 3) @ means.T)
    assert asdict(found) == pytest.approx(dict.fromkeys(asdict(found), 0.0), abs=1e-12)


@pytest.mark.parametrize(("n", "d", "classes"), [(60, 5, 4), (40, 3, 7), (40, 30, 5), (30, 1, 3)])
def test_it_is_the_definition(n: int, d: int, classes: int) -> None:
    features, labels = cloud(n, d, classes, seed=n + d)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(classes, d, generator=generator, dtype=torch.float64)
    logits = features @ weight.T
    found = neural_collapse(features, labels, weight=weight, logits=logits)
    assert asdict(found) == pytest.approx(asdict(literal(features, labels, weight, logits)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_equal_noise_on_a_simplex(classes: int) -> None:
    """With variance σ² in every direction and means of length R, NC1 = σ² (K − 1)² / (K R²)."""
    d, sigma, radius = 8, 0.3, 4.0
    noise = sigma * math.sqrt(d) * torch.cat([torch.eye(d), -torch.eye(d)]).double()
    labels = torch.arange(classes).repeat_interleave(2 * d)
    features = radius * simplex(classes, d)[labels] + noise.repeat(classes, 1)
    expected = sigma**2 * (classes - 1) ** 2 / (classes * radius**2)
    assert neural_collapse(features, labels).nc1 == pytest.approx(expected, rel=1e-10)


def test_two_orthogonal_classes() -> None:
    features = torch.eye(2).repeat_interleave(3, dim=0)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    found = neural_collapse(features, labels, weight=torch.eye(2), logits=features)
    assert (found.nc1, found.nc2_equinorm, found.nc2_equiangular, found.nc4) == (0.0, 0.0, 0.0, 0.0)
    assert found.nc2_max_angle == pytest.approx(0.0, abs=1e-12)  # two centred means are opposite, whatever they are
    # Rows e_c instead of e_c − 1/2: ‖I/√2 − M‖² with M = [[½, −½], [−½, ½]].
    assert found.nc3 == pytest.approx(2 - math.sqrt(2))


def test_duality_of_opposite_and_orthogonal_classifiers() -> None:
    means = simplex(4, 8)
    features, labels = means.repeat(2, 1), torch.arange(4).repeat(2)
    apart = torch.linalg.svd(means, full_matrices=True).Vh[4:]  # orthogonal to all class means
    assert neural_collapse(features, labels, weight=-3 * means).nc3 == pytest.approx(4.0)
    assert neural_collapse(features, labels, weight=apart[:4]).nc3 == pytest.approx(2.0)


def test_collinear_means_at_unequal_distances() -> None:
    features = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64).repeat_interleave(2, dim=0)
    found = neural_collapse(features, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert found.nc2_equinorm == pytest.approx(np.std([2, 1, 3]) / 2)
    assert found.nc2_equiangular == pytest.approx(np.std([1, -1, -1]))
    assert found.nc2_max_angle == pytest.approx((1.5 + 0.5 + 0.5) / 3)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), n=st.integers(3, 40), d=st.integers(1, 8), scale=st.floats(1e-3, 1e3))
def test_invariances(seed: int, n: int, d: int, scale: float) -> None:
    features, labels = cloud(n, d, 3, seed)
    weight = torch.randn(3, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turn = rotation(d, seed)
    found = neural_collapse(features, labels, weight=weight, logits=features @ weight.T)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = neural_collapse(
        (scale * features @ turn + 5 * scale)[order],
        labels[order],
        weight=weight @ turn / scale,
        logits=(features @ weight.T)[order],
    )
    assert asdict(moved) == pytest.approx(asdict(found), rel=1e-6, abs=1e-9, nan_ok=True)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**20))
def test_names_of_classes_do_not_matter(seed: int) -> None:
    features, labels = cloud(20, 6, 4, seed)
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    names = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    renamed = torch.empty_like(weight)
    renamed[names] = weight
    one = neural_collapse(features, labels, weight=weight, logits=features @ weight.T)
    other = neural_collapse(features, names[labels], weight=renamed, logits=features @ renamed.T)
    assert asdict(one) == pytest.approx(asdict(other), rel=1e-9, abs=1e-12)


def test_a_tighter_class_is_more_collapsed() -> None:
    features, labels = cloud(60, 6, 4, seed=0)
    found = class_means(features, labels)
    values = [neural_collapse(features - s * found.deviations(features), labels).nc1 for s in (0.0, 0.5, 0.9, 1.0)]
    assert values[1] == pytest.approx(0.25 * values[0]) and values[2] == pytest.approx(0.01 * values[0])
    assert values[3] == pytest.approx(0.0, abs=1e-25)


def test_means_of_other_samples_may_be_the_centres() -> None:
    centres = class_means(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.tensor([0, 5]))
    points = torch.tensor([[1.0, 3.0], [9.0, 3.0], [4.0, 0.0], [6.0, 0.0]])
    logits = torch.zeros(4, 6)
    logits[[0, 1, 2, 3], [0, 5, 5, 3]] = 1
    assert centre_disagreement(points, logits, centres) == 0.5


def test_classes_that_do_not_occur() -> None:
    features, labels = cloud(30, 5, 3, seed=3)
    weight = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sparse = labels * 4
    found = neural_collapse(features, sparse, weight=weight, logits=features @ weight[::4].T)
    assert found.nc3 == pytest.approx(neural_collapse(features, labels, weight=weight[::4]).nc3)
    nowhere = torch.zeros(30, 9)
    nowhere[:, 7] = 1
    assert neural_collapse(features, sparse, logits=nowhere).nc4 == 1.0


def test_what_is_not_defined() -> None:
    nothing = NeuralCollapse(math.nan, math.nan, math.nan, math.nan, math.nan, 0.0)
    logits = torch.zeros(6, 2)
    for features, labels in (
        (torch.randn(6, 3), torch.zeros(6, dtype=torch.int64)),  # one class
        (torch.full((6, 3), 0.1, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)),
    ):
        found = neural_collapse(features, labels, weight=torch.randn(2, 3), logits=logits)
        assert asdict(found) == pytest.approx(asdict(nothing), nan_ok=True)
    dead = neural_collapse(torch.zeros(6, 3), torch.arange(6) % 2, weight=torch.randn(2, 3), logits=logits)
    assert asdict(dead) == pytest.approx(asdict(nothing), nan_ok=True)
    single = neural_collapse(torch.randn(1, 3), torch.tensor([1]))
    assert all(math.isnan(value) for value in asdict(single).values())
    assert math.isnan(neural_collapse(torch.eye(2), torch.arange(2), weight=torch.zeros(2, 2)).nc3)


def test_a_mean_at_the_centre_has_cosine_zero() -> None:
    features = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    found = neural_collapse(features, torch.arange(3))
    assert found.nc2_max_angle == pytest.approx((2 * 0.5 + 4 * 0.5) / 6)


def test_wrong_arguments() -> None:
    features, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 2])
    for options, said in (
        ({"weight": torch.randn(3, 2)}, r"weight: got shape \(3, 2\), need a floating tensor \(C, 3\)"),
        ({"weight": torch.randn(2, 3)}, r"labels, as rows of weight: got 2 at \[2\], need values in \[0, 1\]"),
        ({"weight": torch.full((3, 3), torch.nan)}, "weight: got nan"),
        ({"logits": torch.randn(3, 3)}, r"logits: got shape \(3, 3\), need a floating tensor \(4, C\)"),
        ({"logits": torch.full((4, 3), torch.inf)}, "logits: got inf"),
    ):
        with pytest.raises(ValueError, match=said):
            neural_collapse(features, labels, **options)
    with pytest.raises(ValueError, match=r"features: got shape \(4, 2\), need a floating tensor \(n, 3\)"):
        centre_disagreement(features[:, :2], torch.randn(4, 3), class_means(features, labels))


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    features, labels = cloud(200, 16, 5, seed=0)
    weight = torch.randn(5, 16, dtype=torch.float64)
    expected = neural_collapse(features, labels, weight=weight, logits=features @ weight.T)
    found = neural_collapse(
        features.cuda(), labels.cuda(), weight=weight.cuda(), logits=features.cuda() @ weight.cuda().T
    )
    assert asdict(found) == pytest.approx(asdict(expected), rel=1e-8)
