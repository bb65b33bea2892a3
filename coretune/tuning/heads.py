"""The heads that a method puts on the backbone's features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.tuning.arguments import bad_argument, computing_dtype


class ProjectionHead(nn.Module):
    """Linear, ReLU, Linear, then scaled to unit length: (n, d) → (n, dim), as in SimCLR, MoCo-v2 and Core-tuning.

    The length is computed in float32 (float64 for a float64 head), also under autocast. A zero vector stays zero.

    Args:
        features: Width d of its input.
        dim: Width of its output.
        hidden: Width between the two layers; None for d.

    Raises:
        ValueError: A width is below 1.
    """

    def __init__(self, features: int, dim: int, hidden: int | None = None) -> None:
        super().__init__()
        width = features if hidden is None else hidden
        for name, value in (("features", features), ("dim", dim), ("hidden", width)):
            _check_width(name, value)
        self.layers = nn.Sequential(nn.Linear(features, width), nn.ReLU(inplace=True), nn.Linear(width, dim))

    def forward(self, features: Tensor) -> Tensor:
        """Returns (n, dim) unit vectors of (n, d) features."""
        projected: Tensor = self.layers(features)
        return F.normalize(projected.to(computing_dtype(projected)), dim=1)


def linear_classifier(features: int, classes: int, *, bias: bool = True) -> nn.Linear:
    """Returns a linear classifier (n, d) → (n, C), initialised as torch does.

    Args:
        features: Width d of its input.
        classes: C.
        bias: Whether it has a bias.

    Raises:
        ValueError: A width is below 1.
    """
    _check_width("features", features)
    _check_width("classes", classes)
    return nn.Linear(features, classes, bias=bias)


@torch.no_grad()
def redraw(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draws a linear layer anew from the distribution that torch starts one from: U(−1/√d, 1/√d), weight and bias.

    Args:
        layer: d inputs; changed in place.
        generator: On the CPU, whatever the layer's device.
    """
    bound = 1 / math.sqrt(layer.in_features)
    for parameter in layer.parameters():
        parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))


def _check_width(name: str, value: int) -> None:
    if value < 1:
        raise bad_argument(name, value, "an integer >= 1")
