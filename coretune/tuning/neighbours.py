"""The weighted nearest-neighbour classifier of Wu et al.: how good features are before anything is trained on them.

    s_j = z · b_j,   votes_c = Σ_{j among the k nearest, y_j = c} exp(s_j / τ),   prediction = argmax_c votes_c

with z, b_j features of unit length of an image and of the bank (Wu, Xiong, Yu, Lin, CVPR 2018, arXiv 1805.01978,
section 3.4; k = 200 and τ = 0.07 are theirs).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.draws import permutation
from coretune.data.pack import Packed
from coretune.nets.model import Model
from coretune.spec.catalog.evaluations import NeighbourParameters
from coretune.tuning.arguments import bad_argument, check_finite, check_number, check_tensor, full_precision
from coretune.tuning.blocked import rows_per_block
from coretune.tuning.context import Context
from coretune.tuning.sampling import to_device
from coretune.tuning.shared_rows import own_rows, shared_rows

Indices = NDArray[np.int64]

METRIC = "knn_top1"


def weighted_votes(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    *,
    classes: int,
    k: int = 200,
    temperature: float = 0.07,
    apart: Tensor | None = None,
    block: int | None = None,
) -> Tensor:
    """Returns how the nearest images of a bank vote on each query, (n, classes); the largest vote of a row is ≤ k.

    Votes are divided by that of the nearest image, exp((s_j − max s) / τ), which changes no order and cannot overflow.
    Of equal similarities at the k-th place it is not said which counts. Computed in float32, by blocks of rows.

    Args:
        queries: (n, d) features, of any length; a zero vector is equally near to all.
        bank: (m, d) features.
        labels: (m,) int64 classes of the bank, in [0, classes).
        classes: C.
        k: Most images that vote; the bank's size if it has fewer.
        temperature: τ.
        apart: (n,) int64, the image of the bank that has no vote on a query, being the same one; −1 for none.
        block: Rows at a time; None for as many as keep memory bounded.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value, or nothing is left to vote.
    """
    check_tensor("queries", queries, "floating", ("n", "d"), queries)
    check_tensor("bank", bank, "floating", ("m", queries.shape[1]), queries)
    check_tensor("labels", labels, "integer", (bank.shape[0],), queries)
    check_number("k", k, 1)
    check_number("temperature", temperature, 0, open_low=True)
    check_finite("queries", queries)
    check_finite("bank", bank)
    if apart is not None and bank.shape[0] == 1:
        raise bad_argument("bank", "no image that may vote", "at least one")
    with torch.no_grad(), full_precision(queries.device):
        units = F.normalize(bank.float(), dim=1).T
        rows = rows_per_block(bank.shape[0]) if block is None else block
        found = [queries.new_zeros((0, classes), dtype=torch.float32)]
        others = None if apart is None else torch.split(apart, rows)
        for number, part in enumerate(torch.split(queries, rows)):
            similarity = F.normalize(part.float(), dim=1) @ units
            if others is not None:
                _leave_out(similarity, others[number])
            found.append(_votes(similarity, labels, classes, min(k, bank.shape[0]), temperature))
        return torch.cat(found)


def evaluate_neighbours(
    model: Model,
    packed: Packed,
    indices: Indices,
    context: Context,
    *,
    labelled: Indices,
    params: NeighbourParameters | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Classifies some images by the nearest labelled ones in the backbone's features, without augmentation.

    An image does not vote on itself where it is in both. Workers divide the images among them.

    Args:
        model: In evaluation mode, on the context's device.
        packed: The images.
        indices: (n,) which of them to classify.
        context: Device and batch size, and the workers.
        labelled: (m,) which of them may vote; of more than `params.bank` as many are drawn by the seed.
        params: k, τ, and the size of the bank.
        seed: Of the bank's draw.

    Returns:
        `knn_top1` in per cent, NaN where a feature is not finite; nothing where there is a single class, no image to
        classify, or none to vote.
    """
    params = params or NeighbourParameters()
    chosen = drawn(labelled, params.bank, seed)
    places = _places(indices, chosen)
    overlap = bool((places >= 0).any())
    if len(packed.classes) < 2 or not len(indices) or len(chosen) <= overlap:
        return {}

    def labels(which: Indices) -> Tensor:
        return to_device(torch.from_numpy(packed.labels[which]), context.device)

    bank = shared_rows(model.features, packed, chosen, context)
    own = slice(context.shard.rank, None, context.shard.workers)
    hits, broken = torch.zeros(2, dtype=torch.int64, device=context.device).unbind()
    if len(indices[own]):
        queries = own_rows(model.features, packed, indices[own], context)
        if bool(bank.isfinite().all() & queries.isfinite().all()):
            apart = to_device(torch.from_numpy(places[own]), context.device) if overlap else None
            votes = weighted_votes(
                queries,
                bank,
                labels(chosen),
                classes=len(packed.classes),
                k=params.k,
                temperature=params.temperature,
                apart=apart,
            )
            hits = (votes.argmax(dim=1) == labels(indices[own])).sum()
        else:
            broken = torch.ones_like(broken)
    total, failed = context.shard.sum(torch.stack([hits, broken])).tolist()
    return {METRIC: math.nan if failed else 100 * total / len(indices)}


def drawn(indices: Indices, limit: int, seed: int) -> Indices:
    """Returns at most `limit` of some indices, drawn by the seed alone, in ascending order."""
    if len(indices) <= limit:
        return indices
    return np.sort(indices[permutation(seed, "neighbours", 0, len(indices))[:limit]])


def _places(indices: Indices, bank: Indices) -> Indices:
    """Returns where in the bank (ascending) each index is, −1 where it is not."""
    if not len(bank):
        return np.full(len(indices), -1, np.int64)
    places = np.searchsorted(bank, indices).clip(max=len(bank) - 1).astype(np.int64)
    return np.where(bank[places] == indices, places, -1)


def _leave_out(similarity: Tensor, apart: Tensor) -> None:
    rows = torch.arange(similarity.shape[0], device=similarity.device)
    kept = similarity[rows, apart]
    similarity[rows, apart] = torch.where(apart >= 0, -torch.inf, kept)


def _votes(similarity: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    nearest, places = similarity.topk(k, dim=1)
    weights = ((nearest - nearest[:, :1]) / temperature).exp()
    return weights.new_zeros(similarity.shape[0], classes).scatter_add_(1, labels[places], weights)
