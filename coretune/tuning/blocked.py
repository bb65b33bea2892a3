"""Pairwise computations by blocks of rows: what is quadratic in the batch is in memory for one block only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

RowLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(logits (b, N), rows (b,)) → the sum of these rows' losses, differentiable, and how many of the rows count."""

PAIRS = 2**21
"""Pairs (row, column) in memory at once: a square of 1,448 rows."""


def rows_per_block(columns: int) -> int:
    """Returns how many rows make a block: at least 1, and no more than have `PAIRS` pairs with all columns."""
    return max(1, PAIRS // columns)


def mean_over_rows(loss: RowLoss, z: Tensor, rows: Tensor, temperature: float, block: int) -> Tensor:
    """Returns the mean of a loss that is a sum over the rows of the logits z_i·z_k / τ; 0 if no row counts.

    If one block holds all rows, the graph is kept as usual. With several, each block is differentiated as soon as it
    is computed, in the forward pass, and only the gradient (N, d) is kept: nothing is computed twice, memory is linear
    in N, and a second derivative is refused.

    Args:
        loss: The loss of some rows.
        z: (N, d).
        rows: (m,) int64, rows of z, ascending.
        temperature: τ.
        block: Rows of a block.

    Returns:
        Scalar, attached to z's graph.

    Raises (from the backward pass):
        RuntimeError: Several blocks are differentiated with `create_graph`.
    """
    if block >= rows.shape[0]:
        total, count = loss(_queries(z, rows, temperature) @ z.T, rows)
        return total / count.clamp_min(1)
    # Asked here, since inside of a Function gradients are always off.
    differentiated = torch.is_grad_enabled() and z.requires_grad
    found: Tensor = _BlockedMean.apply(loss, z, rows, temperature, block, differentiated)
    return found


class _BlockedMean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loss: RowLoss, z: Tensor, rows: Tensor, temperature: float, block: int, differentiated: bool
    ) -> Tensor:
        gradient = torch.zeros_like(z) if differentiated else None
        parts = torch.split(rows, block)
        totals, counts = z.new_empty(len(parts)), rows.new_empty(len(parts))
        for number, part in enumerate(parts):
            total, count = _block(loss, z, part, temperature, gradient)
            # Copied: a small tensor per block that stays would leave holes between the blocks' memory.
            totals[number], counts[number] = total, count
        total, count = totals.sum(), counts.sum()
        count = count.clamp_min(1)
        if gradient is not None:
            ctx.save_for_backward(gradient.div_(count))
        return total / count

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # with `create_graph`; `once_differentiable` would let a constant upstream pass
            raise RuntimeError("a loss in several blocks has no second derivative: let one block hold all rows")
        (gradient,) = ctx.saved_tensors
        return None, upstream * gradient, None, None, None, None


def _block(
    loss: RowLoss, z: Tensor, rows: Tensor, temperature: float, gradient: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns a block's sum and count, and adds the sum's gradient."""
    queries = _queries(z, rows, temperature)
    logits = queries @ z.T
    if gradient is None:
        return loss(logits, rows)
    with torch.enable_grad():
        total, count = loss(logits.requires_grad_(), rows)
    (slope,) = torch.autograd.grad(total, logits)
    # By hand and in place: autograd would make one (N, d) tensor after another.
    gradient.addmm_(slope.T, queries).index_add_(0, rows, slope @ z, alpha=1 / temperature)
    return total.detach(), count


def _queries(z: Tensor, rows: Tensor, temperature: float) -> Tensor:
    return (z if rows.shape[0] == z.shape[0] else z.index_select(0, rows)) / temperature
