"""How far the nearest image of another class is: the median over images, by FAB (arXiv 1907.02044)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from coretune.robust.attack import Connected, Subjects, predictions
from coretune.robust.threat import ThreatModel, distance
from coretune.spec.catalog.attacks import FabParameters, attack_named
from coretune.spec.epsilon import Norm


def smallest_perturbations(model: nn.Module, subjects: Subjects, norm: Norm, steps: int) -> Tensor:
    """Returns the length of the smallest perturbation found for each image, (n,) float64.

    It is 0 where the model is wrong without one, and infinite where none was found. FAB-T finds it from above: no image
    is nearer than that to the boundary in truth, and some are.

    Args:
        model: Ready to be attacked.
        subjects: n ≥ 1 images.
        norm: In which they are measured.
        steps: Of FAB, for each wrong class.
    """
    lengths = torch.zeros(len(subjects), dtype=torch.float64, device=subjects.images.device)
    rows = (predictions(model, subjects.images) == subjects.labels).nonzero().squeeze(1)
    if not len(rows):
        return lengths
    left = subjects.pick(rows)
    fab = attack_named("fab-t").load()
    found = fab(
        Connected(model), left, ThreatModel(norm, Fraction(0)), FabParameters(steps=steps)
    )  # in no ball: the nearest of all
    lengths[rows] = torch.where(found.fooled, distance(found.images, left.images, norm), torch.inf)
    return lengths


def median_of(lengths: Tensor, norm: Norm) -> dict[str, Any]:
    """Returns the lower median of smallest perturbations and what it is of, as JSON values.

    Args:
        lengths: (n,), infinite where none was found.
        norm: In which they were measured.
    """
    value = float(lengths.median()) if len(lengths) else float("inf")
    return {
        "norm": norm,
        "value": None if value == float("inf") else value,
        "images": len(lengths),
        "unbroken": int(lengths.isinf().sum()),
    }
