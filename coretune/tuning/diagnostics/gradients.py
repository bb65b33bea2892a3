"""How much each term of a loss moves the weights, and whether the terms pull the same way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coretune.tuning.arguments import bad_argument


@dataclass(frozen=True)
class GradientShares:
    """What each term of a loss does to some parameters; see `gradient_shares`.

    Attributes:
        norms: ‖g_a‖ by name.
        shares: ‖g_a‖ / Σ_b ‖g_b‖ by name, in [0, 1]; they add up to 1, or are all 0.
        cosines: cos(g_a, g_b) by pair of names, in the order of the terms, in [−1, 1]; 0 with a gradient of 0.
    """

    norms: dict[str, float]
    shares: dict[str, float]
    cosines: dict[tuple[str, str], float]


def gradient_shares(terms: Sequence[tuple[str, Tensor]], parameters: Iterable[nn.Parameter]) -> GradientShares:
    """Norms and cosines of the gradients g_a = ∂(term a)/∂θ of the terms of a loss, as they are weighted in it.

    θ are the parameters that ask for a gradient, e.g. the backbone's; multiply each term by its weight first (η for
    Core-tuning's contrast). A term that does not depend on them, or on anything, has the gradient 0. One backward pass
    each; neither `.grad` nor the graph is changed, so that a step may follow. Products are summed in float64. The share
    is of lengths, not of the step: two terms of cosine −1 and equal norms cancel, with shares of 1/2 each.

    Args:
        terms: (name, scalar) of each term, with its graph.
        parameters: θ.

    Raises:
        ValueError: No terms, a name twice, a term that is no scalar, or no parameter that asks for a gradient.
    """
    names = [name for name, _ in terms]
    if not names or len(set(names)) < len(names):
        raise bad_argument("terms", names, "at least one, each name once")
    for name, loss in terms:
        if loss.ndim:
            raise bad_argument(f"terms, {name}", f"shape {tuple(loss.shape)}", "a scalar")
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise bad_argument("parameters", "none that asks for a gradient", "at least one")
    gradients = [_gradient(loss, trained) for _, loss in terms]
    products = torch.stack([_dot(one, other, trained[0]) for one in gradients for other in gradients]).cpu()
    products = products.view(len(names), len(names))
    norms = products.diagonal().sqrt()
    lengths = norms.outer(norms)
    cosines = torch.where(lengths > 0, products / torch.where(lengths > 0, lengths, 1.0), 0.0).clamp(-1, 1)
    shares = norms / torch.where(norms.sum() > 0, norms.sum(), 1.0)
    return GradientShares(
        norms=dict(zip(names, norms.tolist(), strict=True)),
        shares=dict(zip(names, shares.tolist(), strict=True)),
        cosines={
            (one, other): float(cosines[a, b]) for a, one in enumerate(names) for b, other in enumerate(names) if a < b
        },
    )


def _gradient(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor | None]:
    if not loss.requires_grad:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))


def _dot(one: list[Tensor | None], other: list[Tensor | None], like: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64, device=like.device)
    for a, b in zip(one, other, strict=True):
        if a is not None and b is not None:
            total += (a.double() * b.double()).sum()
    return total
