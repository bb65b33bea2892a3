"""Mixup of a batch with a random permutation of itself: images or features, and their labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coretune.tuning.arguments import (
    check_between,
    check_generator,
    check_number,
    check_tensor,
    check_whole_number,
    computing_dtype,
    full_precision,
)
from coretune.tuning.beta import draw_beta


@dataclass(frozen=True)
class Mixtures:
    """A batch of n mixtures.

    Attributes:
        values: (n, ...), of the dtype of the input.
        targets: (n, C) probabilities, float32 (float64 for float64 values).
        partner: (n,) int64: whom i is mixed with.
        mix: () float64 on the CPU, the weight λ of i itself, one for the batch.
    """

    values: Tensor
    targets: Tensor
    partner: Tensor
    mix: Tensor


def batch_mixup(
    values: Tensor, labels: Tensor, num_classes: int, *, alpha: float, generator: torch.Generator | None = None
) -> Mixtures:
    """Mixes each sample with another of the same batch (arXiv 1710.09412, section 2).

        x̃_i = λ x_i + (1 − λ) x_π(i)        ỹ_i = λ y_i + (1 − λ) y_π(i)        λ ~ Beta(α, α)

    One λ and one random permutation π for the whole batch, as the paper's listing and both released codes have it; π
    may leave a sample where it is, and a batch of 1 is unchanged. Half-precision values are mixed in float32 and
    rounded once, also under autocast. λ, then π, are drawn on the CPU; on a GPU nothing waits for the device.

    Args:
        values: (n, ...).
        labels: (n,) integers in [0, C).
        num_classes: C.
        alpha: α > 0.
        generator: On the CPU; None for torch's global one.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_mixing(values, labels, num_classes, alpha, generator)
    size, device = values.shape[0], values.device
    mix = draw_beta(alpha, (), generator)
    partner = torch.randperm(size, generator=generator).to(device, non_blocking=True)
    with full_precision(device):
        exact = values.to(computing_dtype(values))
        share = mix.to(exact.dtype).to(device, non_blocking=True)
        # In this order, since the result takes its memory format from the first.
        mixed = torch.lerp(exact, exact.index_select(0, partner), 1 - share).to(values.dtype)
    return Mixtures(mixed, mixed_targets(labels, partner, share, num_classes), partner, mix)


def mixed_targets(labels: Tensor, partner: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """Returns (n, C): λ for a sample's own class and 1 − λ for its partner's.

    Args:
        labels: (n,) integers in [0, C).
        partner: (n,) int64.
        share: () λ, on the labels' device; its dtype is the result's.
        num_classes: C.
    """
    labels = labels.long()
    classes = torch.stack([labels, labels.index_select(0, partner)], dim=1)
    weights = torch.stack([share, 1 - share]).expand(len(labels), 2)
    return share.new_zeros(len(labels), num_classes).scatter_add_(1, classes, weights)


def check_mixing(
    values: Tensor, labels: Tensor, num_classes: int, alpha: float, generator: torch.Generator | None
) -> None:
    """Refuses what cannot be mixed.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_tensor("values", values, "floating", ("n", *values.shape[1:]), values)
    check_tensor("labels", labels, "integer", (values.shape[0],), values)
    check_whole_number("num_classes", num_classes, 1)
    check_between("labels", labels, 0, num_classes - 1)
    check_number("alpha", alpha, 0.0, open_low=True)
    check_generator("generator", generator)
