"""The supervised contrastive loss of a pool of samples, split into tightness and contrast."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coretune.tuning.arguments import check_between, check_finite, check_number, check_tensor
from coretune.tuning.diagnostics.blocks import row_blocks
from coretune.tuning.losses import ROUNDING


@dataclass(frozen=True)
class ContrastSplit:
    """The two terms of the supervised contrastive loss, in nats; see `contrast_split`.

    Attributes:
        tightness: Less the mean similarity of positives over τ, in [−1/τ, 1/τ]; −1/τ if each class is one point.
        contrast: Mean log-sum-exp of the similarities over τ, in log(n − 1) + [−1/τ, 1/τ].
        anchors: Samples that have a positive.
    """

    tightness: float
    contrast: float
    anchors: int

    @property
    def loss(self) -> float:
        """tightness + contrast: the loss, >= 0."""
        return self.tightness + self.contrast


def contrast_split(z: Tensor, labels: Tensor, *, temperature: float = 0.07) -> ContrastSplit:
    """Splits L = `focal_contrastive(z, labels, gamma=0)` of a whole pool: every sample is an anchor and seen by all.

        L = tightness + contrast
        tightness = −1/|V| Σ_{i∈V} 1/|P_i| Σ_{k∈P_i} z_i·z_k/τ
        contrast  =  1/|V| Σ_{i∈V} log Σ_{j≠i} exp(z_i·z_j/τ)

    P_i are the other samples of i's class, V the samples with P_i not empty; without any both terms are 0, as the loss
    is. The sum over positives is outside the log (SupCon's L_out, arXiv 2004.11362), so that the split is exact.

    Theorem 1 of Core-tuning (arXiv 2102.06605, section 3, after Boudiaf et al., ECCV 2020, arXiv 2003.08983): for unit
    vectors and balanced classes, minimising the contrastive loss minimises the class-conditional entropy H(Z|Y) and
    maximises the entropy of the features H(Z): L ∝ H(Z|Y) − H(Z). Tightness stands for H(Z|Y), contrast for −H(Z).

    What holds for a pool of n samples is weaker. κ(z, z') = exp(z·z'/τ)/N_τ is a density on the sphere (von
    Mises–Fisher), and log N_τ + log(n − 1) − contrast the leave-one-out cross-entropy of its kernel density estimate:
    in expectation an upper bound on H(Z), so that a low contrast does not prove a high H(Z). tightness + log N_τ is,
    by Jensen's inequality and in expectation, an upper bound on H(Z|Y), loose for classes of several clusters. Only
    of the difference is there a bound on the useful side: in a large pool log(n − 1) − L is at most I(Z; Y) = H(Z) −
    H(Z|Y) (Donsker and Varadhan, as in InfoNCE, arXiv 1807.03748), however low the two entropies are. All see the
    features as smoothed by a kernel of width about √τ. Compare models at the same n, τ, classes and width; absolute
    values say little, and features within fewer than d − 1 dimensions have H(Z) = −∞, which no such estimate shows.

    Memory is linear in n. Computed in float64. Invariant to rotation.

    Args:
        z: (n, d) unit vectors. Shorter ones are taken as they are, longer ones refused.
        labels: (n,) integers.
        temperature: τ > 0.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_tensor("z", z, "floating", ("n", "d"), z)
    check_tensor("labels", labels, "integer", (z.shape[0],), z)
    check_number("temperature", temperature, 0.0, open_low=True)
    check_finite("z", z)
    check_between("z, lengths of rows", torch.linalg.vector_norm(z.detach().float(), dim=1), 0.0, 1 + ROUNDING)
    exact = z.detach().double()
    _, member, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    anchors = (counts[member] > 1).nonzero().squeeze(1)
    if not len(anchors):
        return ContrastSplit(0.0, 0.0, 0)
    tightness = _mean_positive(exact, member, counts)[anchors].mean() / -temperature
    contrast = _log_sums(exact, anchors, temperature).mean()
    return ContrastSplit(float(tightness), float(contrast), len(anchors))


def _mean_positive(z: Tensor, member: Tensor, counts: Tensor) -> Tensor:
    """Returns (n,) mean similarities to the other samples of the class, by way of the classes' sums."""
    sums = z.new_zeros(counts.shape[0], z.shape[1]).index_add_(0, member, z)
    others = (counts[member] - 1).clamp_min(1)
    return (z * (sums[member] - z)).sum(dim=1) / others


def _log_sums(z: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    """Returns (anchors,) log Σ_{j≠i} exp(z_i·z_j/τ)."""
    columns = torch.arange(z.shape[0], device=z.device)
    found = []
    for rows in row_blocks(anchors.shape[0], z.shape[0]):
        block = anchors[rows]
        logits = (z[block] / temperature) @ z.T
        found.append(logits.masked_fill_(block[:, None] == columns, -torch.inf).logsumexp(dim=1))
    return torch.cat(found)
