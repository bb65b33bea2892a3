"""Hard pairs: for every sample a hard positive and a hard negative, made by mixing features (Core-tuning)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.tuning.arguments import (
    bad_argument,
    check_between,
    check_choice,
    check_finite,
    check_generator,
    check_number,
    check_tensor,
    check_whole_number,
    computing_dtype,
    full_precision,
)
from coretune.tuning.beta import draw_beta
from coretune.tuning.mining import Mining, PairsOf, Variant, choose_partners
from coretune.tuning.released import GROUPINGS, Grouping, soft_label_groups

VARIANTS = ("paper", "released")
MINING = ("hard", "random")
PAIRS_OF = ("any", "cross_domain", "within_domain")


@dataclass(frozen=True)
class HardPairs:
    """A batch of n samples and its mixtures: rows are the n originals, the n hard negatives, the n hard positives.

    What `groups`, `owner` and `anchors` are is said for `variant: paper`. In the released variant rows of equal soft
    labels form a group, every row is an anchor, and all see all (owner −1).

    Attributes:
        features: (3n, d), of the dtype of the input.
        targets: (3n, C) probabilities, float32 (float64 for float64 features).
        groups: (3n,) int64: the class of an original and of its hard positive; C + i for the hard negative of i.
        owner: (3n,) int64: −1 for originals, i for the mixtures of i, its own row for a mixture that is a mere copy.
        anchors: (3n,) bool: the originals that have a same-class sample in the batch.
        has_positive: (n,) bool: whether another sample of the batch is of the same class.
        negative_index: (n,) int64: whom i is mixed with in its hard negative; i itself in a batch of one class.
        negative_mix: (n,) weight of that other sample, as used.
        hardest_positive: (n,) int64: the same-class sample of lowest cosine similarity, or with `mining: random` a
            drawn one; i itself if there is none.
        hardest_negative: (n,) int64: the other-class sample of highest cosine similarity, or a drawn one; i itself if
            there is none.
        positive_mix: (n,) weight of `hardest_positive` in the hard positive, as used.
        positive_fallback: (n,) bool: whether `hardest_positive` is of any domain, since the domains that are asked for
            have no other sample of the class.
        negative_fallback: (n,) bool: whether `hardest_negative` and the drawn `negative_index` are of any domain, since
            those domains have no sample of another class.
    """

    features: Tensor
    targets: Tensor
    groups: Tensor
    owner: Tensor
    anchors: Tensor
    has_positive: Tensor
    negative_index: Tensor
    negative_mix: Tensor
    hardest_positive: Tensor
    hardest_negative: Tensor
    positive_mix: Tensor
    positive_fallback: Tensor
    negative_fallback: Tensor

    @property
    def positive_weights(self) -> Tensor:
        """(3n,): 1, and for hard positives their `positive_mix`."""
        ones = torch.ones_like(self.positive_mix)
        return torch.cat([ones, ones, self.positive_mix])


def hard_pairs(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    variant: Variant = "paper",
    mining: Mining = "hard",
    pairs: PairsOf = "any",
    domains: Tensor | None = None,
    alpha: float = 1.0,
    generator: torch.Generator | None = None,
    negative_index: Tensor | None = None,
    negative_mix: Tensor | None = None,
    positive_mix: Tensor | None = None,
    negative_floor: float = 0.8,
    positive_floor: float = 0.0,
    detach_originals: bool | None = None,
    grouping: Grouping = "exact",
    validate: bool = True,
) -> HardPairs:
    """Makes a hard negative and a hard positive of every sample (arXiv 2102.06605, section 3.2).

        z_i⁻ = (1 − λ) z_i + λ z_k        k uniform among the samples of other classes, λ = max(Beta(α, α), 0.8)
        z_i⁺ = λ z_hp + (1 − λ) z_hn      λ = max(Beta(α, α), 0)

    hp is the same-class sample of lowest cosine similarity to i, never i itself; hn the other-class sample of highest.
    Labels are mixed likewise. Gradients flow through everything that is mixed, not through the choice. With `mining:
    random`, the paper's control for hardness, hp is uniform among the other samples of the class and hn, drawn apart
    from k, among those of other classes; all else stays as it is.

    With `pairs: cross_domain` all three partners hp, hn and k are of other domains than i, with `within_domain` of i's
    own. Where these have no sample of the class that a partner has to be of, that partner is of any domain, as without:
    no sample loses its mixtures for want of a domain, and `positive_fallback` and `negative_fallback` say whose it is.
    The paper knows no domains.

    Where the paper is silent: ties (cosines within 8 units of rounding) go to the lowest index; the cosine with a zero
    vector is 0; without a same-class sample hp is i and i is no anchor; in a batch of one class mixtures are copies
    of i, which no anchor sees, whatever indices and weights are passed. Similarities are computed in float32 (float64
    for float64 features), also under autocast; half-precision features are mixed in float32 and rounded once.

    `variant: released` is what the authors' script computes: k from a plain shuffle of the batch, perhaps of the same
    class or i itself; hp and hn as `coretune.tuning.released` says; the originals' rows detached; groups of equal soft
    labels; every row an anchor that sees all others.

    All of λ and k is drawn on the CPU, in one order whatever is passed in place of a draw, and in float64; k takes the
    ⌊u·m⌋-th of the m samples of other classes, sorted by (class, index). Random hp and hn follow last and likewise, so
    that λ and k are the same for both kinds of mining. On a GPU nothing waits for the device.

    Args:
        features: (n, d).
        labels: (n,) integers in [0, C).
        num_classes: C.
        variant: `paper` or `released`.
        mining: `hard` or `random`; the released variant has `hard` only.
        pairs: `any`, `cross_domain` or `within_domain`; the released variant has `any` only.
        domains: (n,) integers, which domain a sample is of; needed unless pairs are of `any`.
        alpha: α > 0 of both mixing weights.
        generator: On the CPU; None for torch's global one.
        negative_index: (n,) integers in [0, n) in place of the drawn k, taken as they are.
        negative_mix: (n,) in [0, 1] in place of the hard negatives' λ, floor included.
        positive_mix: (n,) in [0, 1] in place of the hard positives' λ, floor included.
        negative_floor: Lowest λ of a hard negative, in [0, 1].
        positive_floor: Lowest λ of a hard positive, in [0, 1].
        detach_originals: Whether the originals' rows pass no gradient to the features; None: in the released variant.
        grouping: Of the released variant, as in `soft_label_groups`; without effect in the paper's.
        validate: Whether to check values too (never done on a GPU, where it would wait).

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_choice("variant", variant, VARIANTS)
    check_choice("mining", mining, MINING)
    if variant == "released" and mining != "hard":
        raise bad_argument("mining", repr(mining), "'hard' for variant='released'; 'random' goes with variant='paper'")
    _check_domains(pairs, domains, variant, features)
    check_choice("grouping", grouping, GROUPINGS)
    _check_numbers(num_classes, alpha, negative_floor, positive_floor, generator)
    _check_samples(features, labels, num_classes, validate)
    _check_given(features, negative_index, negative_mix, positive_mix, validate)
    labels = labels.long()
    with torch.no_grad(), full_precision(features.device):
        exact = features.detach().to(computing_dtype(features))
        draws = _draw(alpha, 3 if mining == "random" else 1, exact, generator)
        chosen = choose_partners(variant, mining, exact, labels, num_classes, draws[2:], pairs=pairs, domains=domains)
        mixable, order = chosen.mixable, torch.arange(exact.shape[0], device=exact.device)
        if negative_index is None:
            negative_index = chosen.negative_index
        if negative_mix is None:
            negative_mix = draws[0].clamp_min(negative_floor)
        if positive_mix is None:
            positive_mix = draws[1].clamp_min(positive_floor)
        negative_index = torch.where(mixable, negative_index.long(), order)
        negative_mix = torch.where(mixable, negative_mix.to(exact), 0.0)
        positive_mix = torch.where(mixable, positive_mix.to(exact), 1.0)
        first = torch.cat([order, torch.where(mixable, chosen.hardest_positive, order)])
        partners = torch.stack([first, torch.cat([negative_index, chosen.hardest_negative])], dim=1)
        weight = torch.cat([1 - negative_mix, positive_mix])
        weights = torch.stack([weight, 1 - weight], dim=1)
        targets = _mixed_targets(labels, num_classes, partners, weights)
        if variant == "released":
            groups = soft_label_groups(labels, partners, weights, num_classes, targets, grouping)
            owner, anchors = torch.full_like(groups, -1), torch.ones_like(groups, dtype=torch.bool)
        else:
            groups = torch.cat([labels, num_classes + order, labels])
            owner, anchors = _owners(order, mixable), F.pad(chosen.has_positive, (0, 2 * order.shape[0]))
    detach = variant == "released" if detach_originals is None else detach_originals
    return HardPairs(
        features=_mix(features, partners, weights, detach),
        targets=targets,
        groups=groups,
        owner=owner,
        anchors=anchors,
        has_positive=chosen.has_positive,
        negative_index=negative_index,
        negative_mix=negative_mix,
        hardest_positive=chosen.hardest_positive,
        hardest_negative=chosen.hardest_negative,
        positive_mix=positive_mix,
        positive_fallback=chosen.positive_fallback,
        negative_fallback=chosen.negative_fallback,
    )


def _draw(alpha: float, partners: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Returns (2 + partners, n): the two mixing weights, and a uniform for each partner that is drawn."""
    size = like.shape[0]
    mixes = draw_beta(alpha, (2, size), generator)
    uniforms = torch.rand((partners, size), dtype=torch.float64, generator=generator)
    # One copy, and not a blocking one: the device would have to be waited for.
    return torch.cat([mixes, uniforms]).to(like.dtype).to(like.device, non_blocking=True)


def _mix(features: Tensor, partners: Tensor, weights: Tensor, detach_originals: bool) -> Tensor:
    """Returns (3n, d): the features, then their mixtures."""
    exact = features.to(weights.dtype)
    # A weighted sum of rows, fused: no gathered copies, and half of the time of two gathers.
    mixed = F.embedding_bag(partners, exact, per_sample_weights=weights, mode="sum")
    originals = features.detach() if detach_originals else features
    return torch.cat([originals, mixed.to(features.dtype)])


def _mixed_targets(labels: Tensor, num_classes: int, partners: Tensor, weights: Tensor) -> Tensor:
    """Returns (3n, C): one-hot labels, then their mixtures."""
    size = labels.shape[0]
    targets = weights.new_zeros(3 * size, num_classes)
    targets[:size].scatter_(1, labels[:, None], 1.0)
    targets[size:].scatter_add_(1, labels[partners], weights)
    return targets


def _owners(order: Tensor, has_negative: Tensor) -> Tensor:
    """Returns (3n,) owners; mixtures that are copies own themselves, so that nobody sees them."""
    size = order.shape[0]
    return torch.cat(
        [
            torch.full_like(order, -1),
            torch.where(has_negative, order, order + size),
            torch.where(has_negative, order, order + 2 * size),
        ]
    )


def _check_domains(pairs: PairsOf, domains: Tensor | None, variant: Variant, features: Tensor) -> None:
    check_choice("pairs", pairs, PAIRS_OF)
    if pairs == "any":
        return
    if variant == "released":
        raise bad_argument("pairs", repr(pairs), "'any' for variant='released'; the others go with variant='paper'")
    if domains is None:
        raise bad_argument("domains", "None", f"the domain of each sample, (n,) integers, for pairs={pairs!r}")
    check_tensor("domains", domains, "integer", (features.shape[0],), features)


def _check_numbers(
    num_classes: int, alpha: float, negative_floor: float, positive_floor: float, generator: torch.Generator | None
) -> None:
    check_whole_number("num_classes", num_classes, 1)
    check_number("alpha", alpha, 0.0, open_low=True)
    check_number("negative_floor", negative_floor, 0.0, 1.0)
    check_number("positive_floor", positive_floor, 0.0, 1.0)
    check_generator("generator", generator)


def _check_samples(features: Tensor, labels: Tensor, num_classes: int, validate: bool) -> None:
    check_tensor("features", features, "floating", ("n", "d"), features)
    check_tensor("labels", labels, "integer", (features.shape[0],), features)
    if validate:
        check_finite("features", features)
        check_between("labels", labels, 0, num_classes - 1)


def _check_given(
    features: Tensor,
    negative_index: Tensor | None,
    negative_mix: Tensor | None,
    positive_mix: Tensor | None,
    validate: bool,
) -> None:
    size = features.shape[0]
    if negative_index is not None:
        check_tensor("negative_index", negative_index, "integer", (size,), features)
        if validate:
            check_between("negative_index", negative_index, 0, size - 1)
    for name, mix in (("negative_mix", negative_mix), ("positive_mix", positive_mix)):
        if mix is not None:
            check_tensor(name, mix, "floating", (size,), features)
            if validate:
                check_between(name, mix, 0.0, 1.0)
