"""Images to features where several processes train one model: each encodes its own, all get all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.nets.model import Model
from coretune.tuning.batch_norm import joined_statistics, sharing_layers, synchronised_batch_norm
from coretune.tuning.context import Context
from coretune.tuning.division import Part
from coretune.tuning.encode import encode_in_groups
from coretune.tuning.modes import evaluation_mode, random_numbers_of
from coretune.tuning.sampling import to_device


def encode_part(model: Model, images: Tensor, part: Part, context: Context) -> Tensor:
    """Encodes the images of some samples, as one process would, with batch norm in the part's groups.

    All processes have to call this alike. Dropout, and whatever else draws from torch's global random numbers, draws
    other numbers on each of several processes.

    Args:
        model: Normalisation and backbone. In evaluation mode its groups have no meaning.
        images: (m, 3, H, W), those of the m samples that this process encodes; all n with one worker.
        part: The n samples: their groups, and who encodes which.
        context: Micro-batch, and the processes.

    Returns:
        (n, d) features, the same on all processes; gradients flow to one's own.

    Raises:
        RuntimeError: A group is divided among processes that do not synchronise batch norm.
    """
    shard = context.shard
    if shard.workers == 1 and context.micro_batch is not None and not sharing_layers(model.encoder):
        return _encode_some(model, images, context.micro_batch)
    if shard.workers == 1:
        return encode_in_groups(model.features, images, list(part.groups), context.micro_batch)
    with random_numbers_of(shard.rank, context.device):
        if not sharing_layers(model.encoder):
            own = _encode_some(model, images, context.micro_batch)
        elif part.synchronised:
            own = _encode_in_step(model, images, part, context)
        else:
            own = _encode_whole_groups(model, images, part, context)
    return shard.gather(own, part)


def encode_shuffled(
    model: Model, images: Tensor, part: Part, order: NDArray[np.int64], group: int, context: Context
) -> Tensor:
    """Encodes images with batch norm in groups of samples that are put together anew, as MoCo shuffles batch norm.

    Where a worker does not have all of the samples, the workers exchange their images first. All have to call this
    alike. There are no micro-batches: it is meant for what needs no gradient.

    Args:
        model: Normalisation and backbone.
        images: (m, 3, H, W), those of the m samples that this process encodes; all n with one worker.
        part: The n samples, and who has which.
        order: (n,) permutation: the first group is of the samples `order[:group]`.
        group: Size of the groups, by `chunk_sizes`.
        context: The processes, and the memory format.

    Returns:
        (n, d) features in the order of the samples, the same on all processes.
    """
    shard, regrouped = context.shard, part.regrouped(group)
    everyone = images if regrouped.owner is part.owner else shard.gather(images, part)
    own = to_device(torch.from_numpy(order[regrouped.own(shard.rank)]), images.device)
    shuffled = everyone.index_select(0, own).contiguous(memory_format=context.memory_format)
    features = encode_part(model, shuffled, regrouped, replace(context, micro_batch=None))
    return features.index_select(0, to_device(torch.from_numpy(np.argsort(order)), features.device))


def encoding(model: Model, part: Part, context: Context) -> Callable[[Tensor], Tensor]:
    """Returns `encode_part` as a function of the images alone, without micro-batches where there is one worker."""
    if context.shard.workers == 1:
        return model.features
    return lambda images: encode_part(model, images, part, context)


def _encode_some(model: Model, images: Tensor, micro_batch: int | None) -> Tensor:
    """Encodes images that share no statistics."""
    if micro_batch is None or images.shape[0] <= micro_batch:
        return model.features(images)
    sizes = [len(chunk) for chunk in torch.split(images, micro_batch)]
    return encode_in_groups(model.features, images, sizes, micro_batch)


def _encode_whole_groups(model: Model, images: Tensor, part: Part, context: Context) -> Tensor:
    rank = context.shard.rank
    groups = [share for share in part.shares(rank) if share]
    # Asked of all workers' shares, so that nobody is left waiting for those that raise.
    if part.largest_shares() != list(part.groups):
        raise RuntimeError(
            "a contrast batch that several workers encode is encoded again, with batch statistics of its own: "
            "a method that does so in training mode has to say `views = 2`"
        )
    with joined_statistics(model.encoder, part.order(rank), context.shard):
        if groups:
            return encode_in_groups(model.features, images, groups, context.micro_batch)
        # For the shape and dtype of no features, and for gradients that are zero, as everybody's parameters have some.
        with evaluation_mode(model.encoder):
            return model.features(images)


def _encode_in_step(model: Model, images: Tensor, part: Part, context: Context) -> Tensor:
    def encode(some: Tensor) -> Tensor:
        with synchronised_batch_norm(model.encoder, context.shard):
            return model.features(some)

    shares = part.shares(context.shard.rank)
    return encode_in_groups(encode, images, shares, context.micro_batch, module=model, weights=part.largest_shares())
