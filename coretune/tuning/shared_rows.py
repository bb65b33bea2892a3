"""What a model says of each image, worked out by several workers for all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.pack import Packed
from coretune.tuning.context import Context
from coretune.tuning.sampling import plain_images

Indices = NDArray[np.int64]


def shared_rows(encode: Callable[[Tensor], Tensor], packed: Packed, indices: Indices, context: Context) -> Tensor:
    """Returns a row (n, d) of each image, in their order; each of W workers encodes every W-th for all of them.

    Args:
        encode: Images (m, 3, H, W) in [0, 1] → rows (m, d).
        packed: The images.
        indices: (n,) which of them, n ≥ 1.
        context: Device and batch size, and the workers.
    """
    shard = context.shard
    if shard.workers == 1:
        return own_rows(encode, packed, indices, context)
    own = indices[shard.rank :: shard.workers]
    # Somebody may have one image less than the others: it encodes one of theirs, which is cut off again.
    padded = np.concatenate([own, indices[: -(-len(indices) // shard.workers) - len(own)]])
    found = shard.everyone(own_rows(encode, packed, padded, context))
    return found.transpose(0, 1).flatten(0, 1)[: len(indices)]


def own_rows(encode: Callable[[Tensor], Tensor], packed: Packed, indices: Indices, context: Context) -> Tensor:
    """Returns a row (n, d) of each image, in their order, in float32; this worker encodes all of them."""
    return torch.cat([encode(images).float() for images in plain_images(packed, indices, context)])
