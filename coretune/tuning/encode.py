"""Images to features: batch-norm groups, and micro-batches by gradient caching."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Encode = Callable[[Tensor], Tensor]


def encode_in_groups(
    encode: Encode,
    images: Tensor,
    groups: list[int],
    micro_batch: int | None,
    *,
    module: nn.Module | None = None,
    weights: list[int] | None = None,
) -> Tensor:
    """Encodes images so that each group shares batch-norm statistics, with bounded memory.

    With a micro-batch, activations are dropped after the forward pass and made again, one micro-batch at a time, in
    the backward pass (gradient caching; `torch.utils.checkpoint` over whole groups): the same features and gradients,
    with batch-norm's running statistics updated once.

    Args:
        encode: Images to features: a module in training mode, or a method of one. Of anything else the running
            statistics cannot be found, and a micro-batch is refused.
        images: (n, 3, H, W).
        groups: Sizes of consecutive batch-norm groups; they add up to n.
        micro_batch: Samples whose activations may be in memory at once, rounded up to whole groups, since a group's
            statistics need all of its samples; None for all.
        module: Whose running statistics `encode` changes; None where `encode` is a module or a method of one.
        weights: What to take for the sizes of the groups when they are put together into micro-batches; None for
            the sizes themselves. Where processes work in step, all of them have to come to the same micro-batches.

    Returns:
        (n, d) features.

    Raises:
        TypeError: A micro-batch with something that is neither a module nor a method of one.
    """
    if micro_batch is None:
        return _grouped(encode, images, groups)
    batches = _micro_batches(groups, weights or groups, micro_batch)
    if len(batches) == 1:
        return _grouped(encode, images, groups)
    module = module or _module(encode)
    parts = torch.split(images, [sum(sizes) for sizes in batches])
    features = [
        checkpoint(_grouped, encode, part, sizes, use_reentrant=False, context_fn=lambda: _contexts(module))
        for part, sizes in zip(parts[:-1], batches[:-1], strict=True)
    ]
    # The last one is the first of the backward pass: its activations would be made again at once.
    features.append(_grouped(encode, parts[-1], batches[-1]))
    return torch.cat(features)


def _grouped(encode: Encode, images: Tensor, groups: list[int]) -> Tensor:
    if len(groups) == 1:
        return encode(images)
    return torch.cat([encode(part) for part in torch.split(images, groups)])


def _micro_batches(groups: list[int], weights: list[int], micro_batch: int) -> list[list[int]]:
    """Returns consecutive groups, put together as long as their weights add up to at most `micro_batch`."""
    batches: list[list[int]] = [[]]
    total = 0
    for size, weight in zip(groups, weights, strict=True):
        if batches[-1] and total + weight > micro_batch:
            batches.append([])
            total = 0
        batches[-1].append(size)
        total += weight
    return batches


def _module(encode: Encode) -> nn.Module:
    module = getattr(encode, "__self__", encode)
    if not isinstance(module, nn.Module):
        raise TypeError(f"a micro-batch needs a module or a method of one to encode with, got {encode!r}")
    return module


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), still_statistics(module)


@contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """Lets a module's forward pass change copies of its buffers only, e.g. batch norm's running statistics.

    (Batch norm without running statistics would save other tensors for the backward pass than the first time, which
    `torch.utils.checkpoint` refuses.)
    """
    kept = [(owner, name, value) for owner in module.modules() for name, value in owner.named_buffers(recurse=False)]
    for owner, name, value in kept:
        setattr(owner, name, value.clone())
    try:
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)
