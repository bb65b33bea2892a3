"""CutMix of a batch against literal loops, torchvision's law, properties and errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from coretune.tuning.batch_cutmix import batch_cutmix
from coretune.tuning.beta import draw_beta

torch.set_num_threads(1)
CLASSES = 3


def sample(n: int, height: int = 5, width: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, height, width, generator=draws, dtype=torch.float64)
    return images, torch.randint(CLASSES, (n,), generator=draws)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    n=st.integers(1, 6),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    alpha=st.sampled_from([1e-3, 0.3, 1.0, 4.0]),
    probability=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None)
def test_mixtures_equal_the_listing(
    n: int, height: int, width: int, alpha: float, probability: float, seed: int
) -> None:
    """Algorithm A1 of the paper, pixel by pixel."""
    images, labels = sample(n, height, width, seed)
    before = images.clone()
    found = batch_cutmix(images, labels, CLASSES, alpha=alpha, probability=probability, generator=generator(seed))
    draws = generator(seed)
    cuts = float(torch.rand((), dtype=torch.float64, generator=draws)) < probability
    rest = math.sqrt(1 - float(draw_beta(alpha, (), draws)))
    order = torch.randperm(n, generator=draws).tolist()
    y, x = (int(torch.randint(side, (), generator=draws)) for side in (height, width))
    tall, wide = int(height * rest / 2), int(width * rest / 2)
    area = 0
    for row in range(height):
        for column in range(width):
            inside = cuts and y - tall <= row < y + tall and x - wide <= column < x + wide
            area += inside
            source = images[order] if inside else images
            assert torch.equal(found.values[:, :, row, column], source[:, :, row, column])
    share = 1 - area / (height * width)
    assert float(found.mix) == pytest.approx(share, abs=1e-12)
    assert found.partner.tolist() == order
    for i, j in enumerate(order):
        for c in range(CLASSES):
            expected = share * (int(labels[i]) == c) + (1 - share) * (int(labels[j]) == c)
            assert float(found.targets[i, c]) == pytest.approx(expected, abs=1e-12)
    assert torch.equal(images, before)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_rectangles_have_torchvision_s_law(alpha: float) -> None:
    """Share and corners of what is pasted, of two images that are all 0 and all 1."""
    n, side = 700, 40
    images, labels = torch.stack([torch.zeros(3, side, side), torch.ones(3, side, side)]), torch.tensor([0, 1])
    with torch.random.fork_rng():
        torch.manual_seed(3)
        transform = v2.CutMix(num_classes=2, alpha=alpha)
        theirs = [described(*transform(images, labels)) for _ in range(n)]
    draws, ours = generator(4), []
    while len(ours) < n:
        found = batch_cutmix(images, labels, 2, alpha=alpha, generator=draws)
        if found.partner.tolist() == [1, 0]:  # torchvision always takes the next image
            ours.append(described(found.values, found.targets))
    for one, other in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        assert stats.ks_2samp(one, other).pvalue > 1e-3


def described(images: Tensor, targets: Tensor) -> tuple[float, int, int, int, int]:
    pasted = images[0, 0] > 0.5
    rows, columns = pasted.any(1).nonzero().flatten().tolist(), pasted.any(0).nonzero().flatten().tolist()
    assert float(targets[0, 1]) == pytest.approx(float(pasted.float().mean()), abs=1e-6)
    if not rows:
        return 0.0, -1, -1, -1, -1
    return float(targets[0, 1]), rows[0], rows[-1], columns[0], columns[-1]


def test_so_many_batches_are_cut() -> None:
    images, labels = sample(2, 20, 20)
    draws = generator(1)
    cut = sum(
        float(batch_cutmix(images, labels, CLASSES, alpha=1.0, probability=0.3, generator=draws).mix) < 1
        for _ in range(700)
    )
    sure = (
        sum(float(batch_cutmix(images, labels, CLASSES, alpha=1.0, generator=draws).mix) < 1 for _ in range(700)) / 700
    )
    assert stats.binomtest(cut, 700, 0.3 * sure).pvalue > 1e-3


def test_draws_do_not_depend_on_whether_they_are_used() -> None:
    images, labels = sample(4)
    states = []
    for probability in (0.0, 1.0):
        draws = generator(5)
        batch_cutmix(images, labels, CLASSES, alpha=1.0, probability=probability, generator=draws)
        states.append(draws.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pixels_are_copied_and_labels_are_exact_in_any_type(dtype: torch.dtype) -> None:
    images, labels = sample(4, 12, 12)
    found = batch_cutmix(images.to(dtype), labels, CLASSES, alpha=1.0, generator=generator(2))
    assert found.values.dtype == dtype
    assert found.targets.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.isin(found.values, images.to(dtype)).all()


def test_the_memory_format_stays() -> None:
    images, labels = sample(4)
    images = images.contiguous(memory_format=torch.channels_last)
    found = batch_cutmix(images, labels, CLASSES, alpha=1.0, generator=generator(2))
    assert found.values.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"probability": 1.1}, "probability"),
        ({"probability": -0.1}, "probability"),
        ({"images": torch.zeros(4, 3)}, "images"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels"),
        ({"labels": torch.full((4,), CLASSES)}, "labels"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_wrong_arguments_are_told(change: dict[str, Any], message: str) -> None:
    images, labels = sample(4)
    said: dict[str, Any] = {"images": images, "labels": labels, "num_classes": CLASSES, "alpha": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        batch_cutmix(said.pop("images"), said.pop("labels"), said.pop("num_classes"), **said)
