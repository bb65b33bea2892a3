"""Semantic calibration of DR-Tune: brings features of the pre-trained encoder to where the fine-tuned ones are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def calibrate(pretrained: Tensor, tuned: Tensor, labels: Tensor, rotation: Tensor, prototypes: Tensor) -> Tensor:
    """Semantic calibration: a rotation of all features, then a translation of each class.

        ẑ_k = u(p_k R + μ'_{y_k} − μ_{y_k}),    u(v) = v / |v|,    p_k = u(pretrained_k),    t_k = u(tuned_k)

    μ_c is the mean of p_k R over the rows of class c, and μ'_c = Σ_k α_k t_k with α the softmax over these rows of
    the cosine of t_k and the classifier's weight w_c, so that rows which the classifier is sure of count more.

    Args:
        pretrained: (K, d) features by the pre-trained encoder.
        tuned: (K, d) features of the same images by the fine-tuned encoder.
        labels: (K,) classes in [0, C), or −1 for a row of no class, whose result has no meaning (but is finite).
        rotation: (d, d), R.
        prototypes: (C, d), the w_c.

    Returns:
        (K, d) unit vectors, or zero where there is no direction.
    """
    classes = torch.arange(prototypes.shape[0], device=labels.device)
    member = (labels[:, None] == classes).to(pretrained.dtype)
    rotated = F.normalize(pretrained, dim=1) @ rotation
    target = F.normalize(tuned, dim=1)
    cosine = target @ F.normalize(prototypes.to(target.dtype), dim=1).T
    # Cosines lie in [−1, 1]: their exponentials need no shift.
    shift = _shares(member * cosine.exp()).T @ target - _shares(member).T @ rotated
    return F.normalize(rotated + member @ shift, dim=1)


def rotation_between(source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Orthogonal Procrustes: the rotation R (d, d), det R = 1, that minimises Σ_k w_k |(s_k − s̄) R − (t_k − t̄)|².

    By the singular value decomposition of Σ_k w_k (s_k − s̄)ᵀ (t_k − t̄) = U S Vᵀ: R = U Vᵀ, with the sign of its last
    direction turned where det U Vᵀ = −1 (Umeyama, PAMI 1991). Where the rows leave R open (fewer rows than
    dimensions, features that are always 0), it is the nearest to the identity, not chance: a multiple of the identity
    too small to matter elsewhere is added. On a GPU the decomposition waits for the device.

    Args:
        source: (K, d).
        target: (K, d).
        weights: (K,) >= 0; s̄ and t̄ are weighted means. All 0 gives the identity.
    """
    share = (weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny))[:, None]
    centred = share * (source - (share * source).sum(dim=0))
    # The loop finds out about a NaN by the loss, and says more of it than a failed decomposition would.
    cross = (centred.T @ (target - (share * target).sum(dim=0))).nan_to_num(0.0, 0.0, 0.0)
    limits = torch.finfo(cross.dtype)
    cross.diagonal().add_(100 * limits.eps * torch.linalg.matrix_norm(cross) + limits.tiny)
    u, _, vh = torch.linalg.svd(cross)
    u[:, -1] *= torch.linalg.slogdet(u @ vh).sign
    rotation: Tensor = u @ vh
    return rotation


def _shares(values: Tensor) -> Tensor:
    """Divides each column by its sum; a column of zeros stays one."""
    return values / values.sum(dim=0).clamp_min(torch.finfo(values.dtype).tiny)
