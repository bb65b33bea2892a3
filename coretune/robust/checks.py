"""What every evaluation of attacks is checked for, before its numbers are believed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from coretune.robust.attack import logits_of
from coretune.robust.losses import margin
from coretune.robust.threat import TOLERANCE, distance
from coretune.robust.worst_case import Outcome, Plan

TIE = 1e-4
"""Margin of logits, as a share of the largest one, below which rounding may decide: sums of batches of another size are
made in another order."""


class Repeated(NamedTuple):
    """What another prediction of the stored images says.

    Attributes:
        faults: Contradictions, in words.
        tied: (n,) bool, images whose class rounding decides.
    """

    faults: list[str]
    tied: Tensor


def check_distances(outcome: Outcome, images: Tensor, plan: Plan) -> list[str]:
    """Returns in words which stored images lie outside of the ball that they are said to be in, or outside of the box.

    Args:
        outcome: What became of the images.
        images: (n, 3, H, W), the images.
        plan: The grid.
    """
    faults = []
    lengths = distance(outcome.images, images, plan.norm)
    bounds = torch.tensor([0.0, *map(float, plan.grid), float(plan.grid[-1])], dtype=lengths.dtype)
    beyond = lengths > bounds.to(lengths.device)[outcome.level] + TOLERANCE
    if bool(beyond.any()):
        faults.append(
            f"{int(beyond.sum())} perturbations are longer than their ε, the longest {float(lengths.max()):.9g}"
        )
    if bool(((outcome.images < 0) | (outcome.images > 1)).any()):
        faults.append("stored images leave [0, 1]")
    return faults


@torch.no_grad()
def check_again(model: nn.Module, outcome: Outcome, labels: Tensor, plan: Plan, chunk: int) -> Repeated:
    """Predicts the stored images again, in another order and in batches of another size.

    Args:
        model: Ready to be attacked.
        outcome: What became of the images.
        labels: (n,).
        plan: The grid.
        chunk: The batch size of the attacks; another one is taken here.
    """
    n = len(labels)
    order = torch.arange(n - 1, -1, -1, device=labels.device)
    size = max(1, (2 * chunk) // 3 - 1)
    if not n:
        return Repeated([], torch.zeros_like(labels, dtype=torch.bool))
    logits = torch.cat([logits_of(model, outcome.images[rows]) for rows in torch.split(order, size)])
    margins = margin(logits, labels[order])
    fooled = logits.argmax(dim=1) != labels[order]
    differs = fooled != (outcome.level[order] < plan.never)
    tied = margins.abs() <= TIE * logits.abs().amax(dim=1)
    wrong = int((differs & ~tied).sum())
    said = f"{wrong} of {n} stored images are classified in another way in batches of {size}"
    found = torch.zeros_like(fooled)
    found[order] = differs & tied
    return Repeated([said] if wrong else [], found)


def check_monotone(robust: Sequence[int]) -> list[str]:
    """Returns in words where a carried worst case rises: from ε to ε, and from attack to attack.

    Args:
        robust: Images that are left after each attack at each ε, in their order, from the clean accuracy on.
    """
    rises = [place for place, (one, other) in enumerate(pairwise(robust)) if other > one]
    return [f"the worst case rises at step {place + 1} of {len(robust) - 1}" for place in rises]
