"""M&M tuning, adapted to classification: a stage of triplet loss before CE-tuning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.spec.catalog.methods.contrast import MixAndMatchParameters
from coretune.tuning.arguments import computing_dtype, full_precision
from coretune.tuning.heads import linear_classifier
from coretune.tuning.method import LossTerms, Method, Step


class MixAndMatch(Method):
    """Mix-and-match tuning of Zhan, Liu, Luo, Tang and Loy (AAAI 2018, arXiv 1712.00661), adapted to classification.

        L = L_triplet        in the first stage
        L = L_ce             in the second

    The source tunes for segmentation: patches of all images are mixed in one batch, a triplet loss on their unit
    features is trained alone, then the net is trained for segmentation. What is adapted: the samples of the contrast
    batch take the place of the patches, and a linear classifier that of the segmentation net. What is kept: unit
    vectors of the backbone's own features, without a projection head; squared distances with a margin of 2.1; the
    first stage's share, 8,000 of 50,000 iterations in the released solvers. One schedule of the learning rate runs
    through both stages, where the source starts anew.

    The source draws one positive and one negative for each anchor at random; here the loss is over all triplets of
    the batch (not the hardest ones), which is the mean of that draw, without its noise. An anchor without a positive
    or without a negative is left out; the released code takes the anchor itself, or the zero vector, in its place.

    The classifier gets no gradient in the first stage: until the second, accuracies are those of its random weights,
    and a pruner would compare chance.

    Args:
        params: Margin and length of the first stage.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    classifier: nn.Linear

    def __init__(self, params: MixAndMatchParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.classifier = linear_classifier(features, classes)

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch.

        Returns:
            Terms `cross_entropy` (nats) and `triplet` (squared distance of unit vectors), both in both stages.
        """
        logits = self.classifier(step.features)
        cross_entropy = F.cross_entropy(logits.to(computing_dtype(logits)), step.labels)
        with full_precision(step.features.device):
            z = F.normalize(step.features.to(computing_dtype(step.features)), dim=1)
            triplet = triplet_loss(z, step.labels, self.params.margin)
        return LossTerms(
            total=triplet if step.progress < self.params.first_stage else cross_entropy,
            terms={"cross_entropy": cross_entropy.detach(), "triplet": triplet.detach()},
        )


def triplet_loss(z: Tensor, labels: Tensor, margin: float) -> Tensor:
    """The hinge loss over all triplets of a batch, each anchor with the same weight.

        L = 1/|V| Σ_{a∈V} 1/(|P_a| |N_a|) Σ_{p∈P_a} Σ_{n∈N_a} max(0, m + D_ap − D_an),    D_ab = 2 − 2 z_a·z_b

    P_a are the other samples of a's class, N_a those of other classes, V the anchors with both. D is the squared
    distance of unit vectors. With V empty the loss is 0, attached to the graph. Memory is quadratic in n.

    Args:
        z: (n, d) unit vectors.
        labels: (n,) integers.
        margin: m > 0, in squared distance.

    Returns:
        Scalar.
    """
    same = labels[:, None] == labels
    positive = same & ~torch.eye(labels.shape[0], dtype=torch.bool, device=labels.device)
    distance = 2 - 2 * z @ z.T
    reach = margin + distance
    # Σ_n max(0, t − D_n) = |{n: D_n < t}| t − Σ_{n: D_n < t} D_n: sorted negatives give both without n³ triplets.
    negatives = distance.masked_fill(same, torch.inf).sort(dim=1).values
    sums = F.pad(negatives.masked_fill(negatives.isinf(), 0.0).cumsum(dim=1), (1, 0))
    count = torch.searchsorted(negatives.detach(), reach.detach())
    hinge = count * reach - sums.gather(1, count)
    triplets = positive.sum(dim=1) * (~same).sum(dim=1)
    weight = positive.to(z.dtype) / (triplets.clamp_min(1) * (triplets > 0).sum().clamp_min(1))[:, None]
    return (weight * hinge).sum()
