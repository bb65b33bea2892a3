"""Whom a sample is mixed with: a drawn negative; the hardest positive and negative of its batch, or drawn ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from coretune.tuning.blocked import rows_per_block
from coretune.tuning.released import released_partners

Variant = Literal["paper", "released"]
Mining = Literal["hard", "random"]
PairsOf = Literal["any", "cross_domain", "within_domain"]

TIE = 8  # cosines closer than so many units of rounding are ties: a dot product is not known better


class Partners(NamedTuple):
    """Whom each of n samples may be mixed with; i itself where there is nobody.

    Attributes:
        negative_index: (n,) a drawn sample, of another class in the paper's variant.
        hardest_positive: (n,) the same-class sample of lowest cosine similarity, as the variant chooses it; a drawn
            one for `mining: random`.
        hardest_negative: (n,) the other-class sample of highest cosine similarity, likewise.
        has_positive: (n,) bool, whether another sample is of the same class.
        mixable: (n,) bool, whether there is anything to mix.
        positive_fallback: (n,) bool, whether there is such a sample, but none in the domains that are asked for.
        negative_fallback: (n,) bool, likewise for samples of other classes.
    """

    negative_index: Tensor
    hardest_positive: Tensor
    hardest_negative: Tensor
    has_positive: Tensor
    mixable: Tensor
    positive_fallback: Tensor
    negative_fallback: Tensor


def choose_partners(
    variant: Variant,
    mining: Mining,
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    uniforms: Tensor,
    *,
    pairs: PairsOf = "any",
    domains: Tensor | None = None,
) -> Partners:
    """Chooses whom each sample is mixed with (arXiv 2102.06605, section 3.2).

    Args:
        variant: `paper` or `released`, as in `hard_pairs`.
        mining: `hard`, or in the paper's variant `random`: positive and negative are drawn, not chosen.
        features: (n, d), float32 or float64.
        labels: (n,) int64 in [0, C).
        num_classes: C.
        uniforms: (1, n) in [0, 1), of which the drawn samples follow; (3, n) for `random`.
        pairs: In which domains partners are looked for, in the paper's variant: in all, in the others than a sample's
            own, or in its own. Where there is none of the class that is looked for, in all.
        domains: (n,) integers, which domain a sample is of; needed unless pairs are of `any`.
    """
    classes = _sorted_by_class(labels, num_classes)
    has_positive, has_negative = classes.own > 1, classes.own < labels.shape[0]
    none = torch.zeros_like(has_positive)
    if variant == "released":
        shuffle = uniforms[0].argsort()
        hardest = released_partners(features, labels)
        return Partners(shuffle, *hardest, has_positive, torch.ones_like(has_negative), none, none)
    positive_fallback = negative_fallback = none
    if pairs != "any":
        assert domains is not None
        drawn, *found, positive_fallback, negative_fallback = _in_domains(
            pairs, mining, features, labels, domains, classes, uniforms
        )
    else:
        drawn, found = _other_class(classes, uniforms[0]), list(_anywhere(mining, features, labels, classes, uniforms))
    order = torch.arange(labels.shape[0], device=labels.device)
    positive, negative = torch.where(has_positive, found[0], order), torch.where(has_negative, found[1], order)
    return Partners(drawn, positive, negative, has_positive, has_negative, positive_fallback, negative_fallback)


class _Classes(NamedTuple):
    """A batch sorted by class: each class is a block, so that a draw from one needs linear memory and no search.

    Attributes:
        order: (n,) samples, sorted by (class, index).
        starts: (n,) where in `order` the class of each sample begins.
        own: (n,) number of samples of the class of each.
    """

    order: Tensor
    starts: Tensor
    own: Tensor


def _sorted_by_class(labels: Tensor, num_classes: int) -> _Classes:
    counts = labels.new_zeros(num_classes).scatter_add_(0, labels, torch.ones_like(labels))
    return _Classes(labels.argsort(stable=True), (counts.cumsum(0) - counts)[labels], counts[labels])


def _anywhere(
    mining: Mining, features: Tensor, labels: Tensor, classes: _Classes, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns (n,) each: the positive and the negative, of any domain; without meaning where there is none."""
    if mining == "random":
        return _same_class(classes, uniforms[1]), _other_class(classes, uniforms[2])
    return _hardest(features, labels)


def _other_class(classes: _Classes, uniforms: Tensor) -> Tensor:
    """Returns (n,) a sample of another class for each; without meaning where there is none."""
    size = classes.order.shape[0]
    rank = _rank(uniforms, size - classes.own)
    place = torch.where(rank < classes.starts, rank, rank + classes.own).clamp_max(size - 1)
    return classes.order[place]


def _same_class(classes: _Classes, uniforms: Tensor) -> Tensor:
    """Returns (n,) another sample of the same class for each; without meaning where there is none."""
    size = classes.order.shape[0]
    before = torch.empty_like(classes.order).scatter_(0, classes.order, torch.arange(size, device=uniforms.device))
    place = classes.starts + _rank(uniforms, classes.own - 1)
    # The block without the sample itself: what lies behind it moves up by one.
    return classes.order[torch.where(place < before, place, place + 1).clamp_max(size - 1)]


def _rank(uniforms: Tensor, count: Tensor) -> Tensor:
    """Returns (n,) ⌊u·m⌋, also where rounding makes it m."""
    return torch.minimum((uniforms * count).long(), (count - 1).clamp_min(0))


def _hardest(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (n,) the least similar same-class and the most similar other-class sample of each.

    Without meaning where there is none.
    """
    positive, negative = torch.empty_like(labels), torch.empty_like(labels)
    for rows, cosine in _cosines(features):
        same = labels[rows, None] == labels
        negative[rows] = _first_largest(cosine.masked_fill(same, -torch.inf))
        same.diagonal(rows.start).fill_(False)
        positive[rows] = _first_largest(cosine.neg_().masked_fill_(same.logical_not_(), -torch.inf))
    return positive, negative


def _in_domains(
    pairs: PairsOf,
    mining: Mining,
    features: Tensor,
    labels: Tensor,
    domains: Tensor,
    classes: _Classes,
    uniforms: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns (n,) each: a drawn negative, the positive and the negative, and who has none of them in these domains.

    Without meaning where there is none in any domain.
    """
    drawn, positive, negative = (torch.empty_like(labels) for _ in range(3))
    no_positive, no_negative = (torch.empty_like(labels, dtype=torch.bool) for _ in range(2))
    for rows, cosine in _cosines(features):
        same, near = labels[rows, None] == labels, domains[rows, None] == domains
        wanted = near if pairs == "within_domain" else ~near
        others = ~same
        same.diagonal(rows.start).fill_(False)
        positives, no_positive[rows] = _narrowed(same, wanted)
        negatives, no_negative[rows] = _narrowed(others, wanted)
        drawn[rows] = _drawn_from(negatives, classes, uniforms[0, rows])
        if mining == "random":
            positive[rows] = _drawn_from(positives, classes, uniforms[1, rows])
            negative[rows] = _drawn_from(negatives, classes, uniforms[2, rows])
        else:
            negative[rows] = _first_largest(cosine.masked_fill(~negatives, -torch.inf))
            positive[rows] = _first_largest(cosine.neg_().masked_fill_(~positives, -torch.inf))
    return drawn, positive, negative, no_positive, no_negative


def _narrowed(candidates: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (r, n) the candidates that are wanted, or all of a row that has none of these; (r,) which rows those are.

    A row without any candidate is none of them.
    """
    narrowed = candidates & wanted
    lacking = ~narrowed.any(dim=1)
    return torch.where(lacking[:, None], candidates, narrowed), lacking & candidates.any(dim=1)


def _drawn_from(candidates: Tensor, classes: _Classes, uniforms: Tensor) -> Tensor:
    """Returns (r,) the ⌊u·m⌋-th of the m candidates (r, n) of each row, sorted by (class, index)."""
    number = candidates[:, classes.order].cumsum(dim=1)
    rank = _rank(uniforms, number[:, -1]) + 1
    return classes.order[(number < rank[:, None]).sum(dim=1).clamp_max(candidates.shape[1] - 1)]


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
