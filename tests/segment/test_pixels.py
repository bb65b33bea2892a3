from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coretune.segment.pixels import choose_pixels

SHAPE = (3, 9, 11)


def drawn(seed: int, classes: tuple[int, ...] = (0, 1, 2, 255)) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.choice(classes, SHAPE)), torch.from_numpy(rng.random(SHAPE) < 0.3)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 12), st.sampled_from([0.0, 0.5, 1.0]))
def test_what_is_sampled(seed: int, pixels: int, distance: int, hard: float) -> None:
    labels, wrong = drawn(seed)
    chosen = choose_pixels(labels, wrong, pixels=pixels, distance=distance, hard=hard, generator=seeded(seed))
    assert len(chosen) <= pixels and chosen.tolist() == sorted(set(chosen.tolist()))
    assert not (labels.flatten()[chosen] == 255).any()
    places = [np.unravel_index(int(place), SHAPE) for place in chosen]
    for (image, row, column), (other, there, aside) in itertools.combinations(places, 2):
        assert image != other or max(abs(row - there), abs(column - aside)) >= distance


@given(st.integers(0, 2**32 - 1), st.integers(3, 60))
def test_classes_have_equal_shares_as_far_as_they_go(seed: int, pixels: int) -> None:
    labels, wrong = drawn(seed, (0, 0, 0, 0, 0, 1, 1, 1, 2, 255))
    chosen = choose_pixels(labels, wrong, pixels=pixels, distance=1, hard=0.5, generator=seeded(1))
    there = Counter(labels.flatten().tolist())
    counts = Counter(labels.flatten()[chosen].tolist())
    assert len(chosen) == min(pixels, sum(there[c] for c in range(3)))
    for c, other in itertools.permutations(range(3), 2):  # one has less than another only where it has no more
        assert counts[c] >= counts[other] - 1 or counts[c] == there[c]


def test_images_of_a_class_have_equal_shares() -> None:
    labels = torch.zeros(SHAPE, dtype=torch.int64)
    chosen = choose_pixels(labels, labels > 0, pixels=30, distance=1, hard=0.5, generator=seeded(0))
    assert np.bincount(chosen.numpy() // 99).tolist() == [10, 10, 10]


@pytest.mark.parametrize(("hard", "few", "expected"), [(0.5, 50, 10), (1.0, 50, 20), (0.0, 50, 0), (0.5, 4, 4)])
def test_hard_pixels_have_their_share(hard: float, few: int, expected: int) -> None:
    labels = torch.zeros((1, 10, 10), dtype=torch.int64)
    wrong = torch.arange(100).view(1, 10, 10) < few
    chosen = choose_pixels(labels, wrong, pixels=20, distance=1, hard=hard, generator=seeded(0))
    assert len(chosen) == 20 and int(wrong.flatten()[chosen].sum()) == expected


def test_hard_pixels_fill_up_where_easy_ones_run_out() -> None:
    labels, wrong = torch.zeros((1, 10, 10), dtype=torch.int64), torch.arange(100).view(1, 10, 10) >= 3
    chosen = choose_pixels(labels, wrong, pixels=20, distance=1, hard=0.5, generator=seeded(0))
    assert int(wrong.flatten()[chosen].sum()) == 17


def test_every_position_can_be_sampled() -> None:
    labels = torch.zeros((1, 4, 6), dtype=torch.int64)
    seen: set[int] = set()
    for seed in range(40):
        seen |= set(choose_pixels(labels, labels > 0, pixels=99, distance=3, hard=0.5, generator=seeded(seed)).tolist())
    assert seen == set(range(24))


def test_draws_do_not_depend_on_labels() -> None:
    generator, other = seeded(3), seeded(3)
    labels, wrong = drawn(0)
    choose_pixels(labels, wrong, pixels=5, distance=2, hard=0.5, generator=generator)
    choose_pixels(torch.full(SHAPE, 255), ~wrong, pixels=50, distance=1, hard=0.0, generator=other)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=other))


def test_nothing_but_void_gives_nothing() -> None:
    labels = torch.full(SHAPE, 255)
    assert choose_pixels(labels, labels > 0, pixels=5, distance=1, hard=0.5).shape == (0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixels": 0}, "pixels: got 0"),
        ({"distance": 0}, "distance: got 0"),
        ({"hard": 1.5}, "hard: got 1.5"),
        ({"wrong": torch.zeros(2, 2, 2, dtype=torch.bool)}, "wrong: got shape"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, object], words: str) -> None:
    labels, wrong = drawn(0)
    given_ = {"labels": labels, "wrong": wrong, "pixels": 5, "distance": 1, "hard": 0.5} | change
    with pytest.raises(ValueError, match=words):
        choose_pixels(**given_)  # type: ignore[arg-type]
