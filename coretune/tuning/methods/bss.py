"""Batch spectral shrinkage: the weakest directions of a batch's features are suppressed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coretune.spec.catalog.methods.regularisers import BSSParameters
from coretune.tuning.arguments import check_tensor, check_whole_number, computing_dtype, full_precision
from coretune.tuning.method import LossTerms, Step
from coretune.tuning.methods.cross_entropy import CrossEntropy


class BatchSpectralShrinkage(CrossEntropy):
    """Cross-entropy with batch spectral shrinkage (Chen, Wang, Fu, Long and Wang, NeurIPS 2019).

        L = CE + η Σ_{i=1..k} σ²_{−i}

    σ_{−i} is the i-th smallest singular value of the feature matrix (n, d) of a contrast batch, among min(n, d). It is
    a property of the batch, not a mean over samples: with another contrast batch another η is right (the authors'
    script has a batch of 48).

    Args:
        params: η and k.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: BSSParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params

    def loss(self, step: Step) -> LossTerms:
        """Returns the mean cross-entropy in nats plus the penalty; terms `cross_entropy`, `shrinkage` (before η)."""
        plain = super().loss(step)
        shrinkage = spectral_shrinkage(step.features, self.params.k)
        return LossTerms(
            total=plain.total + self.params.eta * shrinkage,
            terms={**plain.terms, "shrinkage": shrinkage.detach()},
        )


def spectral_shrinkage(features: Tensor, k: int = 1) -> Tensor:
    """Sum of the k smallest squared singular values, Σ_{i=1..k} σ²_{−i} (L_bss of the paper).

    Its gradient, 2 Σ σ_{−i} u_{−i} v_{−i}ᵀ, is finite for all finite features: 0 where the matrix has no full rank,
    that of one of the equal ones where singular values coincide. Computed in float32 (float64 for float64), also
    under autocast. On a GPU the decomposition waits for the device, as torch's does.

    Args:
        features: (n, d). A NaN or an infinity among them gives NaN.
        k: How many, at least 1; all where min(n, d) < k.

    Returns:
        Scalar, attached to the graph of the features.

    Raises:
        ValueError: An argument has a wrong shape, dtype or value.
    """
    check_tensor("features", features, "floating", ("n", "d"), features)
    check_whole_number("k", k, 1)
    with full_precision(features.device):
        values = features.to(computing_dtype(features))
        # torch refuses to decompose what is not finite, and the training loop looks for a NaN in the loss.
        finite = values.isfinite().all()
        smallest = torch.linalg.svdvals(torch.where(finite, values, 0.0))[-k:]
        return torch.where(finite, smallest.square().sum(), math.nan)
