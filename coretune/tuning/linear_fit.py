"""A linear classifier fitted to features that do not change: to its optimum, with nothing drawn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.tuning.arguments import full_precision

PENALTY = 1e-3
STEPS = 100


@torch.no_grad()
def fit_linear(
    features: Tensor, labels: Tensor, classes: int, *, penalty: float = PENALTY, steps: int = STEPS
) -> nn.Linear:
    """Fits multinomial logistic regression by L-BFGS, from zero weights, in float64.

    The minimum of mean cross-entropy + penalty/2 ‖W‖² for features of mean 0 and variance 1 (those that do not vary
    are left out of it), which is unique but for a shift of all biases; the weights are then those for the features as
    they came.

    Args:
        features: (N, d), N >= 1.
        labels: (N,) integers in [0, C).
        classes: Number of classes C.
        penalty: Weight of the penalty, above 0.
        steps: Iterations at most.

    Returns:
        (n, d) → (n, C), in float64, without gradients, on the device of the features.
    """
    with full_precision(features.device):
        values = features.double()
        mean, std = values.mean(dim=0), values.std(dim=0, correction=0)
        scale = torch.where(std > 1e-12 * values.abs().amax(dim=0), std, torch.inf).reciprocal()
        values = (values - mean) * scale
        weight = values.new_zeros(classes, values.shape[1]).requires_grad_()
        bias = values.new_zeros(classes).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=steps, tolerance_grad=1e-8, tolerance_change=0.0, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            loss = F.cross_entropy(F.linear(values, weight, bias), labels) + penalty / 2 * weight.square().sum()
            weight.grad, bias.grad = torch.autograd.grad(loss, [weight, bias])
            return loss.detach()

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        # Made empty, since the start of its weights would be drawn from torch's global generator.
        fitted = nn.Linear(values.shape[1], classes, dtype=values.dtype, device="meta").to_empty(device=values.device)
        fitted.requires_grad_(False)
        fitted.weight.copy_(weight * scale)
        fitted.bias.copy_(bias - (weight * scale) @ mean)
    return fitted
