"""The inner maximisation of adversarial training: where in a ball a loss is large, by projected gradient steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.robust.attack import column
from coretune.robust.draws import normal_of, uniform_rows
from coretune.robust.threat import ThreatModel
from coretune.spec.epsilon import Norm
from coretune.tuning.sampling import to_device

Objective = Callable[[Tensor], Tensor]
"""Images (n, 3, H, W) to (n,), what is maximised for each; made with gradients."""

NEAR = 1e-3
"""Standard deviation of TRADES' start, by pixel."""


def steepest(gradients: Tensor, norm: Norm) -> Tensor:
    """Returns the direction of length 1 in which a linear function grows most, (n, ...); 0 where it is flat."""
    if norm == "linf":
        return gradients.sign()
    return gradients / column(gradients.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradients.dtype).tiny))


def uniform_start(threat: ThreatModel, draws: Tensor, centres: Tensor) -> Tensor:
    """Returns starts that are uniform in the ball, (n, 3, H, W), before it is cut by the box.

    Args:
        threat: The ball.
        draws: (n, 3 H W + 1) uniform numbers in [0, 1).
        centres: (n, 3, H, W).
    """
    rows, radii = draws[:, :-1].view_as(centres), draws[:, -1:].view(-1, 1, 1, 1)
    if threat.norm == "linf":
        return centres + threat.radius * (2 * rows - 1)
    directions = steepest(normal_of(rows).to(centres.dtype), "l2")
    return centres + threat.radius * radii.pow(1 / max(rows.shape[1:].numel(), 1)) * directions


def climb(
    objective: Objective, centres: Tensor, start: Tensor, threat: ThreatModel, *, step: float, steps: int
) -> Tensor:
    """Returns where projected gradient ascent comes to: x ← Π(x + step · steepest(∇ objective)).

    Gradients flow to the images alone, whatever mode the caller is in; none are left in parameters.

    Args:
        objective: What is maximised, image by image.
        centres: (n, 3, H, W) in [0, 1], the middle of each ball.
        start: (n, 3, H, W), where it begins; projected first.
        threat: Where it stays.
        step: Size of a step in the ball's norm.
        steps: How many.

    Returns:
        (n, 3, H, W) in the ball, without a graph.
    """
    images = threat.project(start, centres)
    for _ in range(steps):
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            (gradients,) = torch.autograd.grad(objective(images).sum(), images)
        images = threat.project(images.detach() + step * steepest(gradients, threat.norm), centres)
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
    return to_device(uniform_rows(seed, purpose, epoch, samples, columns), images.device).to(images.dtype)
