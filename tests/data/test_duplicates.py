from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import coretune.data.duplicates
from coretune.data.duplicates import nearest_images


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])


@settings(max_examples=20)
@given(m=st.integers(1, 5), n=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_against_loops(m: int, n: int, seed: int) -> None:
    some, others = images(m, seed), images(n, seed + 1)
    found = nearest_images(some, others)
    for i in range(m):
        table = [max(correlation(some[i], other), correlation(some[i][:, ::-1], other)) for other in others]
        assert found.similarity[i] == pytest.approx(max(table), abs=1e-5)
        assert table[found.index[i]] == pytest.approx(max(table), abs=1e-5)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    some, others = images(7), images(11, 1)
    whole = nearest_images(some, others)
    monkeypatch.setattr(coretune.data.duplicates, "BLOCK", 3)
    parts = nearest_images(some, others)
    assert (parts.index == whole.index).all()
    np.testing.assert_allclose(parts.similarity, whole.similarity, atol=1e-6)


def test_altered_copies_are_found_and_plain_images_are_like_nothing() -> None:
    others = images(20)
    darker = (others[3] // 2).astype(np.uint8)
    mirrored = others[5][:, ::-1]
    plain = np.full_like(others[0], 7)
    found = nearest_images(np.stack([others[9], darker, mirrored, plain]), others)
    assert found.index[:3].tolist() == [9, 3, 5]
    assert found.similarity[:3] == pytest.approx([1, 1, 1], abs=1e-3)
    assert found.similarity[3] == 0


@pytest.mark.parametrize("shape", [(0, 6, 5, 3), (2, 5, 6, 3)])
def test_what_cannot_be_compared_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images of one size on both sides are needed"):
        nearest_images(np.zeros(shape, np.uint8), images(2))
