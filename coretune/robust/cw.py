"""Carlini and Wagner's attack in L2 (S&P 2017, arXiv 1608.04644), image by image.

    minimise |x' − x|² + c · max(z_y − max_{i≠y} z_i, −κ)      over w, with x' = (tanh w + 1) / 2, by Adam

torchattacks' CW is the same for a single image, and for several stops all of them once their *summed* cost grows, so
that an image's result would depend on those beside it. Here each stops by its own. Its w is infinite where a pixel is 0
or 1; here such pixels start 5e−7 away from there, and can move. It takes 0 for the label's logit when it looks for the
largest other one, which is wrong where all others are below 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coretune.robust.attack import Attempt, Subjects, logits_of
from coretune.robust.losses import margin
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import CwParameters

INSIDE = 1 - 1e-6
"""Pixels in [−1, 1] are drawn together by this factor, so that their inverse hyperbolic tangent is finite."""

BETAS, FLOOR = (0.9, 0.999), 1e-8
"""Adam's, as torch has them by default."""

CHECKS = 10
"""How often an image's cost is compared with what it was."""


def cw(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: CwParameters) -> Attempt:
    """Looks for the nearest image of another class; the caller says whether it is within ε."""
    found, lengths = subjects.images.clone(), torch.full_like(subjects.labels, torch.inf, dtype=torch.float32)
    rows = torch.arange(len(subjects), device=found.device)
    images, labels = subjects.images, subjects.labels
    w = torch.atanh((2 * images - 1) * INSIDE)
    moments = [torch.zeros_like(w), torch.zeros_like(w)]
    before = torch.full_like(lengths, torch.inf)
    for step in range(params.steps):
        w = w.detach().requires_grad_()
        tried = (torch.tanh(w) + 1) / 2
        logits = logits_of(model, tried)
        squared = (tried - images).square().flatten(1).sum(dim=1)
        cost = squared + params.c * (-margin(logits, labels)).clamp_min(-params.kappa)
        (slope,) = torch.autograd.grad(cost.sum(), w)
        with torch.no_grad():
            better = (logits.argmax(dim=1) != labels) & (squared < lengths[rows])
            found[rows[better]], lengths[rows[better]] = tried.detach()[better], squared.detach()[better]
            w = _adam(w.detach(), slope, moments, step + 1, params.lr)
            if step % max(params.steps // CHECKS, 1) == 0:
                stays = ~(cost.detach() > before)
                before = cost.detach()[stays]
                if not bool(stays.all()):
                    rows, images, labels, w = rows[stays], images[stays], labels[stays], w[stays]
                    moments = [moment[stays] for moment in moments]
                    if not len(rows):
                        break
    return Attempt(found, lengths.isfinite())


def _adam(w: Tensor, slope: Tensor, moments: list[Tensor], step: int, lr: float) -> Tensor:
    """Returns w after a step of Adam (arXiv 1412.6980, algorithm 1); `moments` are changed."""
    for moment, beta, value in zip(moments, BETAS, (slope, slope.square()), strict=True):
        moment.mul_(beta).add_(value, alpha=1 - beta)
    first, second = (moment / (1 - beta**step) for moment, beta in zip(moments, BETAS, strict=True))
    return w - lr * first / (second.sqrt() + FLOOR)
