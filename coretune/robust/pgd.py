"""Projected gradient descent (Madry et al., arXiv 1706.06083), from which images leave once they are fooled.

    x_{t+1} = Π(x_t + α sign ∇ℓ(x_t))          L∞;        in L2 with ∇ℓ / (|∇ℓ| + 1e−10) in place of the sign

Π is the projection to the ball, then to the box. Without a random start and with `success: last` it is torchattacks'
PGD to the last bit in L∞: an image's result does not depend on those beside it, so that leaving changes nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from coretune.robust.attack import Attempt, Subjects, column, gradient, logits_of, pick_rows, predictions
from coretune.robust.draws import normal_rows, uniform_rows
from coretune.robust.losses import RowLoss, row_loss
from coretune.robust.restarts import Restarts
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import FgsmParameters, PgdParameters, Success
from coretune.spec.epsilon import step_size

NORM_FLOOR = 1e-10
"""What keeps a gradient of zero from being divided by its length, as in torchattacks."""


@dataclass(frozen=True)
class Ascent:
    """How a loss is climbed.

    Attributes:
        threat: The ball.
        steps: Number of steps.
        step: Their size.
        loss: What is climbed, of logits and labels.
        success: Which iterate has to fool the model.
        losses: Filled with the loss of each image that is left, (m,), at each iterate, if it is a list.
    """

    threat: ThreatModel
    steps: int
    step: float
    loss: RowLoss
    success: Success
    losses: list[Tensor] | None = field(default=None, compare=False)


def pgd(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: PgdParameters) -> Attempt:
    """Attacks by projected gradient steps. Restarts see what the earlier ones left.

    The first restart begins where a smaller ε ended, if there is one; the others at random points of the ball.
    """
    ascent = Ascent(
        threat,
        params.steps,
        float(step_size(params.step_size, threat.eps, params.steps)),
        row_loss(params.loss, subjects.classes),
        params.success,
    )
    state = Restarts(subjects)
    for restart in range(params.restarts):
        rows, left = state.left()
        if len(left):
            state.put(rows, climb(model, left, start_of(left, threat, restart, params.start), ascent))
    return state.attempt()


def fgsm(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: FgsmParameters) -> Attempt:
    """Attacks by one step of size ε from the image (Goodfellow et al., arXiv 1412.6572)."""
    loss = row_loss(params.loss, subjects.classes)
    return climb(model, subjects, subjects.images, Ascent(threat, 1, threat.radius, loss, "last"))


def climb(model: nn.Module, subjects: Subjects, start: Tensor, ascent: Ascent) -> Attempt:
    """Climbs a loss from a start.

    Args:
        model: Ready to be attacked.
        subjects: n images.
        start: (n, 3, H, W) in ball and box.
        ascent: How.
    """
    found = start.clone()
    fooled = torch.zeros_like(subjects.labels, dtype=torch.bool)
    rows = torch.arange(len(subjects), device=start.device)
    images, labels, iterate = subjects.images, subjects.labels, start
    for _ in range(ascent.steps):
        iterate = iterate.detach().requires_grad_()
        logits = logits_of(model, iterate)
        values = ascent.loss(logits, labels)
        if ascent.losses is not None:
            ascent.losses.append(values.detach())
        slope = gradient(values.sum(), iterate)
        iterate = iterate.detach()
        if ascent.success == "any":
            hit = logits.detach().argmax(dim=1) != labels
            if bool(hit.any()):
                found[rows[hit]], fooled[rows[hit]] = iterate[hit], True
                kept = (~hit).nonzero().squeeze(1)
                rows, labels = rows[kept], labels[kept]
                images, iterate, slope = (pick_rows(each, kept) for each in (images, iterate, slope))
                if not len(rows):
                    return Attempt(found, fooled)
        iterate = ascent.threat.project(_moved(iterate, slope, ascent), images)
    found[rows] = iterate
    fooled[rows] = predictions(model, iterate) != labels
    return Attempt(found, fooled)


def start_of(
    subjects: Subjects, threat: ThreatModel, restart: int, start: Literal["random", "none"] = "random"
) -> Tensor:
    """Returns where a restart begins, (n, 3, H, W): warm, at the image, or at a random point of the ball.

    Random points are uniform in L∞; in L2 their direction is uniform and their distance is, as in torchattacks.

    Args:
        subjects: The images.
        threat: The ball.
        restart: Zero-based.
        start: Of the first restart, where there is no warm one.
    """
    images = subjects.images
    if restart == 0 and subjects.warm is not None:
        return threat.project(subjects.warm, images)
    if restart == 0 and start == "none":
        return images
    size = images[0].numel()
    if threat.norm == "linf":
        draws = uniform_rows(subjects.seed, "pgd start", restart, subjects.index, size)
        delta = threat.radius * (2 * draws - 1)
    else:
        direction = normal_rows(subjects.seed, "pgd start", restart, subjects.index, size)
        share = uniform_rows(subjects.seed, "pgd radius", restart, subjects.index, 1)
        delta = threat.radius * share * direction / direction.norm(dim=1, keepdim=True)
    return (images + delta.view(images.shape).to(images)).clamp(0.0, 1.0)


def _moved(iterate: Tensor, slope: Tensor, ascent: Ascent) -> Tensor:
    if ascent.threat.norm == "linf":
        return iterate + ascent.step * slope.sign()
    return iterate + ascent.step * (slope / column(slope.flatten(1).norm(dim=1) + NORM_FLOOR))
