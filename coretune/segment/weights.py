"""Weights of classes in cross-entropies."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def median_frequency(counts: NDArray[np.int64]) -> Tensor:
    """Weights that let rare classes count as much: w_c = median(f) / f_c (Eigen and Fergus, ICCV 2015, section 6.3.2).

    f_c is the share of class c among the labelled pixels of those images that have it; the median is over classes that
    occur. A class that never occurs has weight 0: there is nothing that it could be the label of.

    Args:
        counts: (N, C) pixels of each class in each training mask.

    Returns:
        (C,) float32.
    """
    having = counts > 0
    labelled = counts.sum(axis=1, keepdims=True)
    beside = (having * labelled).sum(axis=0)
    frequency = counts.sum(axis=0) / np.maximum(beside, 1)
    occurs = frequency > 0
    weights = np.zeros(counts.shape[1])
    weights[occurs] = np.median(frequency[occurs]) / frequency[occurs]
    return torch.from_numpy(weights).float()
