"""The intervals of the street scenes: what the script computes of confusion matrices."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

Load = Callable[[str], ModuleType]


def matrices(accuracy: list[float]) -> np.ndarray:
    """(seeds, 1, 2, 2): two classes of equally many pixels, of which so many per cent are right."""
    right = np.round(np.array(accuracy) * 10_000).astype(np.int64)
    each = [[[n, 1_000_000 - n], [1_000_000 - n, n]] for n in right]
    return np.array(each)[:, None]


def test_without_video_it_is_nearly_students_interval(script: Load) -> None:
    page = script("evidence/segmentation")
    own, base = matrices([61, 64, 60, 66, 62]), matrices([60, 60, 61, 61, 60])
    differences = (page.miou(own) - page.miou(base))[:, 0]
    half = stats.t.ppf(0.975, 4) * differences.std(ddof=1) / 5**0.5
    low, high = page.expanded(page.bootstrap(own, base), 5)
    assert low == pytest.approx(differences.mean() - half, abs=0.25 * half)
    assert high == pytest.approx(differences.mean() + half, abs=0.25 * half)


def test_fixed_seeds_leave_the_stretches_alone(script: Load) -> None:
    page = script("evidence/segmentation")
    own, base = matrices([61, 64, 60]), matrices([60, 60, 61])
    found = page.bootstrap(own, base, 50, seeds_too=False)
    assert np.ptp(found) == 0, "there is a single stretch"
