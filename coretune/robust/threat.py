"""What an attacker may do to an image: a ball of a norm around it, and the box of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import torch
from torch import Tensor

from coretune.spec.epsilon import Norm, eps_text, parse_eps

TOLERANCE = 1e-6
"""How far rounding may carry a perturbation out of its ball."""

SIGN: dict[Norm, str] = {"linf": "L∞", "l2": "L2"}


@dataclass(frozen=True)
class ThreatModel:
    """Perturbations δ with |δ| ≤ ε of images in [0, 1], such that x + δ is in [0, 1] too.

    Attributes:
        norm: `linf` or `l2`, over all values of an image.
        eps: ε, a fraction.
    """

    norm: Norm
    eps: Fraction

    @classmethod
    def parse(cls, norm: Norm, eps: str | int | float) -> Self:
        """Returns the threat model of a norm and of ε as somebody wrote it.

        Raises:
            ValueError: It is no ε of this norm; the message says what would be.
        """
        return cls(norm, parse_eps(eps, norm))

    @property
    def radius(self) -> float:
        """ε as a number."""
        return float(self.eps)

    def __str__(self) -> str:
        """E.g. `L∞, ε = 8/255`."""
        return f"{SIGN[self.norm]}, ε = {eps_text(self.eps)}"

    def project(self, perturbed: Tensor, images: Tensor) -> Tensor:
        """Returns the images x + δ with δ brought back into the ball, then into the box.

        The box is convex and contains x, so that cutting x + δ to it leaves it in the ball.

        Args:
            perturbed: (n, 3, H, W).
            images: (n, 3, H, W) in [0, 1].
        """
        delta = perturbed - images
        if self.norm == "linf":
            delta = delta.clamp(-self.radius, self.radius)
        else:
            length = _column(delta.flatten(1).norm(dim=1), delta)
            delta = delta * (self.radius / length.clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1.0)
        return (images + delta).clamp(0.0, 1.0)

    def distance(self, perturbed: Tensor, images: Tensor) -> Tensor:
        """Returns the length of each perturbation, (n,), computed in float64."""
        return distance(perturbed, images, self.norm)

    def inside(self, perturbed: Tensor, images: Tensor) -> Tensor:
        """Returns whether each image is one that the attacker may make, (n,) bool; false for what is not finite."""
        near = self.distance(perturbed, images) <= self.radius + TOLERANCE
        low, high = perturbed.flatten(1).aminmax(dim=1) if perturbed.shape[0] else (near, near)
        return near & (low >= 0) & (high <= 1)


def distance(perturbed: Tensor, images: Tensor, norm: Norm) -> Tensor:
    """Returns the norm of each difference, (n,) float64; NaN where a value is NaN.

    Args:
        perturbed: (n, ...).
        images: (n, ...), as many values.
        norm: `linf` or `l2`.
    """
    delta = (perturbed.cpu().double() - images.cpu().double()).flatten(1)
    if not delta.numel():
        return delta.new_zeros(delta.shape[0]).to(perturbed.device)
    length = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    return length.to(perturbed.device)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
