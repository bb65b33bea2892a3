"""The inner maximisation of adversarial training: where in a ball a loss is large, by projected gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.draws import sample_uniforms
from coretune.spec.epsilon import Norm
from coretune.tuning.sampling import to_device

Objective = Callable[[Tensor], Tensor]
"""Images (n, 3, H, W) to (n,), what is maximised for each; made with gradients."""

NEAR = 1e-3
"""Standard deviation of TRADES' start, by pixel."""


@dataclass(frozen=True)
class Ball:
    """Images within a distance of others, and in [0, 1].

    Attributes:
        norm: By which it is measured.
        eps: The distance, for pixels in [0, 1].
    """

    norm: Norm
    eps: float

    def project(self, images: Tensor, centres: Tensor) -> Tensor:
        """Returns the nearest images of the ball; for L2 the nearest one of it, then of the box, which lies in both."""
        if self.norm == "linf":
            return images.clamp(centres - self.eps, centres + self.eps).clamp(0, 1)
        away = images - centres
        factor = (self.eps / _norms(away).clamp_min(torch.finfo(away.dtype).tiny)).clamp_max(1.0)
        return (centres + away * factor).clamp(0, 1)

    def steepest(self, gradients: Tensor) -> Tensor:
        """Returns the direction of length 1 in which a linear function grows most, (n, ...); 0 where it is flat."""
        if self.norm == "linf":
            return gradients.sign()
        return gradients / _norms(gradients).clamp_min(torch.finfo(gradients.dtype).tiny)

    def uniform(self, draws: Tensor, centres: Tensor) -> Tensor:
        """Returns starts that are uniform in the ball, (n, 3, H, W), before it is cut by the box.

        Args:
            draws: (n, 3 H W + 1) uniform numbers in [0, 1).
            centres: (n, 3, H, W).
        """
        rows, radii = draws[:, :-1].view_as(centres), draws[:, -1:].view(-1, 1, 1, 1)
        if self.norm == "linf":
            inside: Tensor = centres + self.eps * (2 * rows - 1)
            return inside
        directions = self.steepest(normal(rows))
        starts: Tensor = centres + self.eps * radii.pow(1 / max(rows.shape[1:].numel(), 1)) * directions
        return starts


def normal(uniform: Tensor) -> Tensor:
    """Returns standard normal numbers of uniform ones in [0, 1), multiples of 2**-24: |z| < 5.4."""
    middle = uniform * (1 - 2.0**-23) + 2.0**-24  # neither 0 nor 1, which have no quantile, in fp32 too
    quantiles: Tensor = 2.0**0.5 * torch.erfinv(2 * middle - 1)
    return quantiles


def climb(objective: Objective, centres: Tensor, start: Tensor, ball: Ball, *, step: float, steps: int) -> Tensor:
    """Returns where projected gradient ascent comes to: x ← Π(x + step · steepest(∇ objective)).

    Gradients flow to the images alone, whatever mode the caller is in; none are left in parameters.

    Args:
        objective: What is maximised, image by image.
        centres: (n, 3, H, W) in [0, 1], the middle of each ball.
        start: (n, 3, H, W), where it begins; projected first.
        ball: Where it stays.
        step: Size of a step in the ball's norm.
        steps: How many.

    Returns:
        (n, 3, H, W) in the ball, without a graph.
    """
    images = ball.project(start, centres)
    for _ in range(steps):
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            (gradients,) = torch.autograd.grad(objective(images).sum(), images)
        images = ball.project(images.detach() + step * ball.steepest(gradients), centres)
    return images.detach()


def start_draws(seed: int, purpose: str, epoch: int, samples: NDArray[np.int64], images: Tensor) -> Tensor:
    """Returns uniform numbers for the starts of some samples, (n, 3 H W + 1), on the images' device.

    Args:
        seed: Seed of the run.
        purpose: What they are for.
        epoch: Zero-based epoch.
        samples: (n,) indices in the data set: a sample's numbers depend on them and on what is above alone.
        images: (n, 3, H, W), theirs.
    """
    columns = images.shape[1:].numel() + 1
    draws = torch.from_numpy(sample_uniforms(seed, purpose, epoch, samples, columns))
    return to_device(draws, images.device).to(images.dtype)


def _norms(values: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1).view(-1, 1, 1, 1)
    return norms
