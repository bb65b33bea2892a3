"""The split of the contrastive loss: the terms add up to the loss, and are what the docstring says of entropies."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.tuning.diagnostics import blocks, contrast_split
from coretune.tuning.losses import focal_contrastive

torch.set_num_threads(1)


def unit(n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


def circle(angles: Tensor) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def literal(z: Tensor, labels: Tensor, temperature: float) -> tuple[float, float]:
    """Both terms with loops over anchors and what they see."""
    y, n = labels.tolist(), len(labels)
    similarity = [[float(z[i] @ z[k]) / temperature for k in range(n)] for i in range(n)]
    tight, contrast = [], []
    for i in range(n):
        positives = [similarity[i][k] for k in range(n) if k != i and y[k] == y[i]]
        if positives:
            tight.append(-sum(positives) / len(positives))
            contrast.append(math.log(math.fsum(math.exp(similarity[i][k]) for k in range(n) if k != i)))
    return sum(tight) / len(tight), sum(contrast) / len(contrast)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    n=st.integers(1, 40),
    d=st.integers(1, 8),
    classes=st.integers(1, 12),
    temperature=st.sampled_from([0.03, 0.07, 0.5, 5.0]),
)
def test_the_terms_add_up_to_the_loss(seed: int, n: int, d: int, classes: int, temperature: float) -> None:
    z = unit(n, d, seed)
    labels = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    found = contrast_split(z, labels, temperature=temperature)
    expected = float(focal_contrastive(z, labels, gamma=0.0, temperature=temperature))
    assert found.loss == found.tightness + found.contrast == pytest.approx(expected, abs=1e-10)
    assert found.anchors == int((torch.bincount(labels)[labels] > 1).sum())
    if found.anchors:
        bound = 1 / temperature + 1e-9
        assert abs(found.tightness) <= bound and abs(found.contrast - math.log(n - 1)) <= bound


def test_each_term_is_the_formula() -> None:
    z, labels = unit(15, 3, 0), torch.tensor([0, 1, 2, 0, 1, 2, 2, 2, 1, 1, 5, 6, 0, 0, 2])
    found = contrast_split(z, labels, temperature=0.3)
    assert (found.tightness, found.contrast) == pytest.approx(literal(z, labels, 0.3), abs=1e-12)
    assert found.anchors == 13


def test_known_points() -> None:
    """Two classes of m equal samples, opposite to each other."""
    m, tau = 4, 0.5
    z = circle(torch.tensor([0.0, math.pi], dtype=torch.float64)).repeat_interleave(m, dim=0)
    found = contrast_split(z, torch.arange(2).repeat_interleave(m), temperature=tau)
    assert found.tightness == pytest.approx(-1 / tau)
    assert found.contrast == pytest.approx(math.log((m - 1) * math.exp(1 / tau) + m * math.exp(-1 / tau)))
    assert found.anchors == 2 * m


@settings(max_examples=20)
@given(seed=st.integers(0, 2**20))
def test_rotation_and_order_do_not_matter(seed: int) -> None:
    z = unit(20, 4, seed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (20,), generator=generator)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    order = torch.randperm(20, generator=generator)
    one, other = contrast_split(z, labels), contrast_split((z @ turn)[order], 7 - labels[order])
    assert (one.tightness, one.contrast) == pytest.approx((other.tightness, other.contrast), abs=1e-10)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    z, labels = unit(23, 4, 0), torch.arange(23) % 7
    whole = contrast_split(z, labels)
    monkeypatch.setattr(blocks, "ENTRIES", 50)
    assert contrast_split(z, labels).contrast == pytest.approx(whole.contrast, abs=1e-12)


def test_without_a_positive_it_is_0_as_the_loss_is() -> None:
    for z, labels in ((unit(4, 2, 0), torch.arange(4)), (unit(1, 2, 0), torch.zeros(1, dtype=torch.int64))):
        found = contrast_split(z, labels)
        assert (found.tightness, found.contrast, found.loss, found.anchors) == (0.0, 0.0, 0.0, 0)
        assert float(focal_contrastive(z, labels, gamma=0.0)) == 0.0
    zeros = contrast_split(torch.zeros(4, 3), torch.arange(4) % 2)
    assert zeros.tightness == 0.0 and zeros.contrast == pytest.approx(math.log(3))


@pytest.mark.parametrize("width", [0.1, 0.6, math.pi])
def test_the_terms_bound_the_entropies_and_the_loss_the_information(width: float) -> None:
    """On the circle, of classes uniform on arcs of half-width w about 0 and π: H(Z|Y) = log 2w, H(Z) = log 4w or 2π."""
    n, tau = 1500, 0.02
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    angles = math.pi * labels + width * (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1)
    found = contrast_split(circle(angles), labels, temperature=tau)
    kernel = math.log(2 * math.pi) + float(torch.special.i0e(torch.tensor(1 / tau).double()).log()) + 1 / tau
    entropy = math.log(min(4 * width, 2 * math.pi))
    conditional = math.log(2 * width)
    estimate = kernel + math.log(n - 1) - found.contrast
    assert estimate > entropy - 0.02
    assert found.tightness + kernel > conditional
    assert math.log(n - 1) - found.loss <= entropy - conditional + 2 / n
    if width == math.pi:  # nothing to smooth: the estimate is the entropy, the bound on H(Z|Y) is loose
        assert estimate == pytest.approx(entropy, abs=0.02)
        assert found.tightness + kernel > conditional + 10
    else:
        assert estimate < entropy + 1.0


def test_wrong_arguments() -> None:
    z, labels = torch.eye(3), torch.tensor([0, 0, 1])
    for arguments, options, said in (
        ((2 * z, labels), {}, "z, lengths of rows: got 2.0"),
        ((z * torch.nan, labels), {}, "z: got nan"),
        ((z, labels[:2]), {}, r"labels: got shape \(2,\)"),
        ((z, labels), {"temperature": 0.0}, "temperature: got 0.0, need a finite number > 0"),
    ):
        with pytest.raises(ValueError, match=said):
            contrast_split(*arguments, **options)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    z, labels = unit(300, 16, 0), torch.arange(300) % 20
    expected, found = contrast_split(z, labels), contrast_split(z.cuda(), labels.cuda())
    assert (found.tightness, found.contrast) == pytest.approx((expected.tightness, expected.contrast), abs=1e-10)
