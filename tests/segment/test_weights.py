from __future__ import annotations

import numpy as np

from coretune.segment.weights import median_frequency


def test_weights_are_the_median_frequency_over_the_own() -> None:
    counts = np.array([[6, 4, 0, 0], [0, 2, 8, 0]])
    # f: 6 of 10; 6 of 20, since both images have the second class; 8 of 10
    expected = np.array([0.6 / 0.6, 0.6 / 0.3, 0.6 / 0.8, 0.0])
    assert np.allclose(median_frequency(counts).numpy(), expected)
