"""Neural collapse: how near features and classifier are to the geometry of the terminal phase of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.tuning.arguments import check_between, check_finite, check_tensor
from coretune.tuning.diagnostics.class_means import ClassMeans, class_means


@dataclass(frozen=True)
class NeuralCollapse:
    """Distances from neural collapse, each >= 0 and 0 at collapse; see `neural_collapse`. NaN where not defined.

    Attributes:
        nc1: Variability within classes, in units of the scatter between them.
        nc2_equinorm: Coefficient of variation of the lengths of the centred class means, in [0, √(K − 1)].
        nc2_equiangular: Standard deviation of the cosines between them, in [0, 1].
        nc2_max_angle: Mean distance of these cosines from −1/(K − 1), the widest equal angle, in [0, K/(K − 1)].
        nc3: Squared distance between classifier and class means, each scaled to length 1, in [0, 4].
        nc4: Share of samples on which the classifier and the nearest class mean disagree, in [0, 1].
    """

    nc1: float
    nc2_equinorm: float
    nc2_equiangular: float
    nc2_max_angle: float
    nc3: float = math.nan
    nc4: float = math.nan


def neural_collapse(
    features: Tensor, labels: Tensor, *, weight: Tensor | None = None, logits: Tensor | None = None
) -> NeuralCollapse:
    """The measures of Papyan, Han and Donoho (PNAS 2020, arXiv 2008.08186), figures 2 to 7, over the K classes present.

        NC1  tr(Σ_W Σ_B^†) / K
        NC2  std_c ‖μ_c − μ_G‖ / mean_c ‖μ_c − μ_G‖,  std_{c≠c'} cos(c, c'),  mean_{c≠c'} |cos(c, c') + 1/(K − 1)|
             with cos(c, c') that of μ_c − μ_G and μ_c' − μ_G
        NC3  ‖W / ‖W‖_F − M / ‖M‖_F‖_F²,  M = the rows μ_c − μ_G, W not centred
        NC4  the share of samples i with argmax_c logits_ic ≠ argmin_c ‖h_i − μ_c‖

    Σ_W, Σ_B and μ_G are those of `scatter`; standard deviations divide by the number of values. NC1 and NC2 are
    invariant to rotation, shift and scaling of the features, NC3 to a common rotation of features and classifier and
    to the scale of either. NC1 is found from the singular vectors of M, at most K − 1 of them, without a d × d matrix.
    (The code released with the paper leaves out NC1's division by K, and its NC2 deviations divide by one less.)
    Computed in float64.

    Not defined: NC1 if all class means are the same (the formula's 0 would read as collapse); NC2 with one class or if
    they are the same (one mean at μ_G has cosine 0 with the others); NC3 if W or M is 0.

    Args:
        features: (n, d).
        labels: (n,) integers; rows of the classifier, where there is one.
        weight: (C, d) of a linear classifier, for NC3; rows of classes that do not occur are left out.
        logits: (n, C) of the classifier, for NC4; if it chooses a class that does not occur, that is a disagreement.

    Raises:
        ValueError: An argument has a wrong shape, dtype or device, or is not finite.
    """
    found = class_means(features, labels)
    means = found.centred
    equinorm, equiangular, max_angle = _simplex(means)
    return NeuralCollapse(
        nc1=_variability(found, means, features),
        nc2_equinorm=equinorm,
        nc2_equiangular=equiangular,
        nc2_max_angle=max_angle,
        nc3=math.nan if weight is None else _duality(found, means, weight),
        nc4=math.nan if logits is None else centre_disagreement(features, logits, found),
    )


def centre_disagreement(features: Tensor, logits: Tensor, centres: ClassMeans) -> float:
    """NC4: the share of samples that the classifier and the nearest class mean put into different classes.

    The source takes the means of the training samples, also for others: pass those. Equally near means: the first one.

    Args:
        features: (n, d).
        logits: (n, C).
        centres: The class means, of these features or of others.

    Raises:
        ValueError: An argument has a wrong shape, dtype or device, or is not finite.
    """
    check_tensor("features", features, "floating", ("n", centres.means.shape[1]), features)
    check_tensor("logits", logits, "floating", (features.shape[0], "C"), features)
    check_finite("logits", logits)
    means = centres.means - centres.centre
    exact = features.detach().double() - centres.centre
    nearest = (means.square().sum(dim=1) - 2 * exact @ means.T).argmin(dim=1)
    return float((centres.classes[nearest] != logits.argmax(dim=1)).double().mean())


def _variability(found: ClassMeans, means: Tensor, features: Tensor) -> float:
    if not bool(means.any()):
        return math.nan
    _, lengths, directions = torch.linalg.svd(means, full_matrices=False)
    # The K centred means span K − 1 dimensions at most: what is left is rounding.
    kept = lengths > torch.finfo(lengths.dtype).eps * max(means.shape) * lengths[0]
    kept[means.shape[0] - 1 :] = False
    variances = found.mean_over_classes((found.deviations(features) @ directions[kept].T).square())
    # Σ_B = M^T M / K: its pseudo-inverse has K / lengths², and the K cancels that of the definition.
    return float((variances / lengths[kept].square()).sum())


def _simplex(means: Tensor) -> tuple[float, float, float]:
    count = means.shape[0]
    lengths = means.norm(dim=1)
    if count == 1 or not bool(lengths.any()):
        return math.nan, math.nan, math.nan
    unit = F.normalize(means, dim=1, eps=torch.finfo(means.dtype).tiny)
    others = ~torch.eye(count, dtype=torch.bool, device=means.device)
    cosines = (unit @ unit.T)[others]
    equinorm = lengths.std(correction=0) / lengths.mean()
    angle = (cosines + 1 / (count - 1)).abs().mean()
    return float(equinorm), float(cosines.std(correction=0)), float(angle)


def _duality(found: ClassMeans, means: Tensor, weight: Tensor) -> float:
    check_tensor("weight", weight, "floating", ("C", means.shape[1]), means)
    check_finite("weight", weight)
    check_between("labels, as rows of weight", found.classes, 0, weight.shape[0] - 1)
    rows = weight.detach().double()[found.classes]
    lengths = rows.norm() * means.norm()
    if not bool(lengths > 0):
        return math.nan
    return float((rows / rows.norm() - means / means.norm()).square().sum())
