"""Losses as plain functions of tensors: soft cross-entropy and the focal contrastive loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from coretune.tuning.arguments import (
    check_between,
    check_choice,
    check_finite,
    check_number,
    check_tensor,
    check_whole_number,
    computing_dtype,
    full_precision,
)
from coretune.tuning.blocked import mean_over_rows, rows_per_block

Normalizer = Literal["positives", "batch"]
Scope = Literal["own", "other_class", "all"]

NORMALIZERS = ("positives", "batch")
SCOPES = ("own", "other_class", "all")
ROUNDING = 0.02  # the squared length of a unit vector that was rounded to bfloat16 is off by less


def soft_cross_entropy(logits: Tensor, targets: Tensor, *, validate: bool = True) -> Tensor:
    """Cross-entropy with soft labels, −1/N Σ_i Σ_c targets_ic · log softmax(logits_i)_c, in nats.

    Computed in float32, or in float64 if the logits are, also under autocast.

    Args:
        logits: (N, C).
        targets: (N, C), rows of probabilities.
        validate: Whether to check values too (never done on a GPU, where it would wait).

    Returns:
        Scalar, attached to the logits' graph.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_tensor("logits", logits, "floating", ("N", "C"), logits)
    check_tensor("targets", targets, "floating", tuple(logits.shape), logits)
    if validate:
        check_finite("logits", logits)
        check_between("targets", targets, 0.0, 1.0)
        check_between("targets, sums of rows", targets.float().sum(dim=1), 1 - ROUNDING, 1 + ROUNDING)
    dtype = computing_dtype(logits)
    with full_precision(logits.device):
        return F.cross_entropy(logits.to(dtype), targets.to(dtype))


def focal_contrastive(
    z: Tensor,
    groups: Tensor,
    *,
    anchors: Tensor | None = None,
    owner: Tensor | None = None,
    temperature: float = 0.07,
    gamma: float = 1.0,
    normalizer: Normalizer = "positives",
    scope: Scope = "own",
    weights: Tensor | None = None,
    block: int | None = None,
    validate: bool = True,
) -> Tensor:
    """Focal supervised contrast, eq. 5 of the Core-tuning paper (arXiv 2102.06605); the sum is outside the log.

        L = −1/|V| Σ_{i∈V} 1/|P_i| Σ_{k∈P_i} (1 − p_ik)^γ log p_ik,    p_ik = exp(z_i·z_k/τ) / Σ_{j∈A_i} exp(z_i·z_j/τ)

    A_i is what anchor i sees: k ≠ i with owner[k] ∈ {−1, i}. P_i is what it sees of its own group, V the anchors with
    P_i not empty. The factor (1 − p)^γ is differentiated. γ = 0 is SupCon (L_out of arXiv 2004.11362). With V empty
    the loss is 0, attached to the graph. A column that is its own owner is seen by nobody.

    Computed in float32, or in float64 if z is, also under autocast. On a GPU nothing waits for the device.

    Memory is linear in N: beyond 2²¹ pairs of anchor and column (836 samples with their hard pairs) anchors are
    worked on in blocks, each differentiated at once. Blocks change nothing beyond rounding, but with several of them
    there is no second derivative.

    Args:
        z: (N, d) unit vectors. Shorter ones are taken as they are, longer ones refused.
        groups: (N,) integers: the same number means a positive.
        anchors: (N,) bool, which rows are anchors; None for all.
        owner: (N,) integers in [−1, N): the one anchor that sees this column, −1 for all; None for all −1.
        temperature: τ > 0.
        gamma: Focal exponent γ >= 0.
        normalizer: `positives` divides an anchor's sum by |P_i| (the paper), `batch` by N (the authors' released code).
        scope: Whether an anchor also sees owned columns of others: `own` no, `other_class` those whose owner is of
            another group than the anchor, `all` all of them (but none that is its own owner).
        weights: (N,) >= 0, how much a column counts among positives; |P_i| is then their sum. None for all 1.
        block: Anchors per block, >= 1; None for as many as make 2²¹ pairs.
        validate: Whether to check values too (never done on a GPU, where it would wait).

    Returns:
        Scalar in nats, attached to z's graph.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    _check_contrast(z, groups, anchors, owner, weights, validate)
    check_number("temperature", temperature, 0.0, open_low=True)
    check_number("gamma", gamma, 0.0)
    check_choice("normalizer", normalizer, NORMALIZERS)
    check_choice("scope", scope, SCOPES)
    check_whole_number("block", block, 1, optional=True)
    rows = _rows(anchors, z)
    selected = rows.shape[0] < z.shape[0]
    contrast = _Contrast(groups, None if selected else anchors, owner, weights, gamma, normalizer, scope)
    with full_precision(z.device):
        z = z.to(computing_dtype(z))
        block = rows_per_block(z.shape[0]) if block is None else block
        return mean_over_rows(contrast, z, rows, temperature, block)


@dataclass(frozen=True)
class _Contrast:
    """The loss of some rows; see `focal_contrastive`. `anchors` is None if no other rows are ever asked for."""

    groups: Tensor
    anchors: Tensor | None
    owner: Tensor | None
    weights: Tensor | None
    gamma: float
    normalizer: Normalizer
    scope: Scope

    def __call__(self, logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the sum over the rows that are in V, and their number."""
        with torch.no_grad():
            seen = _seen(rows, self.groups, self.owner, self.scope, logits.shape[1])
            share, count = self._shares(rows, seen, logits.dtype)
        # A finite floor: an anchor that sees nothing yields no NaN, and nor does a share of 0 times its log p.
        log_p = F.log_softmax(torch.where(seen, logits, torch.finfo(logits.dtype).min), dim=1)
        return -(share * focal(log_p, self.gamma)).sum(), count

    def _shares(self, rows: Tensor, seen: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns (rows, N) how much each term counts in its row's loss, and the number of rows that are in V."""
        positive = seen & (self.groups[rows, None] == self.groups)
        share = positive.to(dtype) if self.weights is None else positive * self.weights.to(dtype)
        if self.anchors is not None:
            share = share * self.anchors[rows, None]
        sums = share.sum(dim=1, keepdim=True)
        valid = sums > 0
        divisor = sums if self.normalizer == "positives" else torch.full_like(sums, share.shape[1])
        return share.div_(torch.where(valid, divisor, 1.0)), valid.sum()


def focal(log_p: Tensor, gamma: float) -> Tensor:
    """Returns (1 − p)^γ log p of log-probabilities, with finite gradients up to p = 1."""
    if gamma == 0:
        return log_p
    rest = -torch.expm1(log_p)
    if gamma != 1:
        rest = rest.clamp_min(torch.finfo(rest.dtype).tiny) ** gamma
    return rest * log_p


def _rows(anchors: Tensor | None, z: Tensor) -> Tensor:
    """Returns the anchors' indices; on a GPU all of them, since their number is not known without waiting."""
    if anchors is None or z.device.type != "cpu":
        return torch.arange(z.shape[0], device=z.device)
    return anchors.nonzero().squeeze(1)


def _seen(rows: Tensor, groups: Tensor, owner: Tensor | None, scope: Scope, size: int) -> Tensor:
    """Returns (rows, N): whether an anchor sees a column."""
    columns = torch.arange(size, device=rows.device)
    anchor = rows[:, None]
    others = anchor != columns
    if owner is None:
        return others
    common = owner < 0
    if scope == "all":
        return others & (common | (owner != columns))
    visible = common | (owner == anchor)
    if scope == "other_class":
        foreign = groups[rows, None] != groups[owner.clamp_min(0)]
        visible = visible | (foreign & (owner != columns))
    return others & visible


def _check_contrast(
    z: Tensor, groups: Tensor, anchors: Tensor | None, owner: Tensor | None, weights: Tensor | None, validate: bool
) -> None:
    check_tensor("z", z, "floating", ("N", "d"), z)
    size = z.shape[0]
    check_tensor("groups", groups, "integer", (size,), z)
    if anchors is not None:
        check_tensor("anchors", anchors, "bool", (size,), z)
    if owner is not None:
        check_tensor("owner", owner, "integer", (size,), z)
    if weights is not None:
        check_tensor("weights", weights, "floating", (size,), z)
    if not validate or z.device.type != "cpu":
        return
    check_finite("z", z)
    check_between("z, lengths of rows", torch.linalg.vector_norm(z.detach().float(), dim=1), 0.0, 1 + ROUNDING)
    if owner is not None:
        check_between("owner", owner, -1, size - 1)
    if weights is not None:
        check_finite("weights", weights)
        check_between("weights", weights, 0.0, float("inf"))
