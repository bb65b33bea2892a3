"""Whom a sample is mixed with: a drawn negative, the hardest positive and the hardest negative of its batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from coretune.tuning.blocked import rows_per_block
from coretune.tuning.released import released_partners

Variant = Literal["paper", "released"]

TIE = 8  # cosines closer than so many units of rounding are ties: a dot product is not known better


class Partners(NamedTuple):
    """Whom each of n samples may be mixed with; i itself where there is nobody.

    Attributes:
        negative_index: (n,) a drawn sample, of another class in the paper's variant.
        hardest_positive: (n,) the same-class sample of lowest cosine similarity, as the variant chooses it.
        hardest_negative: (n,) the other-class sample of highest cosine similarity, as the variant chooses it.
        has_positive: (n,) bool, whether another sample is of the same class.
        mixable: (n,) bool, whether there is anything to mix.
    """

    negative_index: Tensor
    hardest_positive: Tensor
    hardest_negative: Tensor
    has_positive: Tensor
    mixable: Tensor


def choose_partners(variant: Variant, features: Tensor, labels: Tensor, num_classes: int, uniforms: Tensor) -> Partners:
    """Chooses whom each sample is mixed with (arXiv 2102.06605, section 3.2).

    Args:
        variant: `paper` or `released`, as in `hard_pairs`.
        features: (n, d), float32 or float64.
        labels: (n,) int64 in [0, C).
        num_classes: C.
        uniforms: (n,) in [0, 1), of which the drawn samples follow.
    """
    drawn, has_positive, has_negative = _draw_negatives(labels, num_classes, uniforms)
    if variant == "released":
        shuffle = uniforms.argsort()
        return Partners(shuffle, *released_partners(features, labels), has_positive, torch.ones_like(has_negative))
    return Partners(drawn, *_hardest(features, labels, has_positive, has_negative), has_positive, has_negative)


def _draw_negatives(labels: Tensor, num_classes: int, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (n,) a sample of another class each, whether there is a same-class one, and one of another class.

    Sorted by class, the samples of other classes are all but one block: linear memory, no search.
    """
    size = labels.shape[0]
    order = labels.argsort(stable=True)
    counts = labels.new_zeros(num_classes).scatter_add_(0, labels, torch.ones_like(labels))
    starts = (counts.cumsum(0) - counts)[labels]
    own = counts[labels]
    others = size - own
    rank = torch.minimum((uniforms * others).long(), (others - 1).clamp_min(0))
    place = torch.where(rank < starts, rank, rank + own).clamp_max(size - 1)
    return order[place], own > 1, others > 0


def _hardest(features: Tensor, labels: Tensor, has_positive: Tensor, has_negative: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (n,) the least similar same-class and the most similar other-class sample, itself where there is none."""
    order = torch.arange(labels.shape[0], device=labels.device)
    positive, negative = torch.empty_like(order), torch.empty_like(order)
    for rows, cosine in _cosines(features):
        same = labels[rows, None] == labels
        negative[rows] = _first_largest(cosine.masked_fill(same, -torch.inf))
        same.diagonal(rows.start).fill_(False)
        positive[rows] = _first_largest(cosine.neg_().masked_fill_(same.logical_not_(), -torch.inf))
    return torch.where(has_positive, positive, order), torch.where(has_negative, negative, order)


def _cosines(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yields rows and their (rows, n) cosine similarities with all, block by block: memory is linear in n."""
    tiny = torch.finfo(features.dtype).tiny
    # The largest entry becomes 1: no square overflows or vanishes, and lengths are at least 1, or exactly 0.
    scaled = features / features.abs().amax(dim=1, keepdim=True).clamp_min(tiny)
    inverse = torch.linalg.vector_norm(scaled, dim=1).clamp_min(1.0).reciprocal()
    block = rows_per_block(features.shape[0])
    for start in range(0, features.shape[0], block):
        rows = slice(start, start + block)
        yield rows, (scaled[rows] @ scaled.T).mul_(inverse[rows, None]).mul_(inverse)


def _first_largest(values: Tensor) -> Tensor:
    """Returns for each row the lowest index whose value ties with the largest."""
    margin = TIE * torch.finfo(values.dtype).eps
    return (values >= values.amax(dim=1, keepdim=True) - margin).view(torch.uint8).argmax(dim=1)
