"""Batch norm where several processes train one model: statistics as one process would have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from coretune.nets.scale_shift import BATCH_NORM
from coretune.tuning.arguments import computing_dtype
from coretune.tuning.shard import Shard, flatten, unflatten


@contextmanager
def joined_statistics(module: nn.Module, order: tuple[int, int, int], shard: Shard) -> Iterator[None]:
    """Joins the running statistics of groups that processes encode as wholes, one after another, inside the context.

    One process would update r ← (1 − m) r + m s_g for each group g = 1..G in turn: r_G = (1 − m)^G r_0 + Σ_g m
    (1 − m)^(G − g) s_g. So each process starts from 0, encodes its own groups, scales for those that come after its
    own, and the sum over the processes is what is missing.

    Args:
        module: In training mode; its layers in evaluation mode are left alone. Run inside the context once for each
            group of this process; once, in evaluation mode and on no image, where it has none.
        order: How many groups are encoded by processes before this one, by this one, by those after it.
        shard: The processes.
    """
    layers = [layer for layer in sharing_layers(module) if layer.running_mean is not None]
    if not layers:
        yield
        return
    calls = dict.fromkeys(layers, 0)

    def count(layer: nn.Module, *_: Any) -> None:
        calls[layer] += 1  # type: ignore[index]

    hooks = [layer.register_forward_hook(count) for layer in layers]
    # Others in their place: autograd remembers those of the forward pass, which must not change any more.
    kept = [(layer, name, getattr(layer, name)) for layer in layers for name in ("running_mean", "running_var")]
    for layer, name, value in kept:
        setattr(layer, name, torch.zeros_like(value))
    try:
        yield
        own = [getattr(layer, name) for layer, name, _ in kept]
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)
        for hook in hooks:
            hook.remove()
    # A layer may run more than once for a group, or not at all. Who has no group runs the module once all the same.
    runs = {layer: number // max(order[1], 1) for layer, number in calls.items()}
    keep = [(1 - _momentum(layer)) ** runs[layer] for layer, _, _ in kept]
    joined = shard.sum(flatten(list(torch._foreach_mul(own, [factor ** order[2] for factor in keep]))))
    buffers = [value for _, _, value in kept]
    torch._foreach_mul_(buffers, [factor ** sum(order) for factor in keep])
    torch._foreach_add_(buffers, unflatten(joined, buffers))
    for layer in layers:
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(runs[layer] * (sum(order) - order[1]))


@contextmanager
def synchronised_batch_norm(module: nn.Module, shard: Shard) -> Iterator[None]:
    """Lets batch-norm layers in training mode normalise by the samples of all processes, inside the context.

    All processes have to run the module equally often, also one that has no sample.

    Args:
        module: In training mode; its layers in evaluation mode are left alone.
        shard: The processes.

    Raises:
        ValueError: A layer's class has a forward pass of its own, which may do more than normalise.
    """
    layers = sharing_layers(module)
    for layer in layers:
        if type(layer).forward is not BATCH_NORM.forward:
            raise ValueError(
                f"{type(layer).__name__}: batch norm with a forward pass of its own cannot be synchronised; give "
                "each of the workers whole batch-norm groups (train.bn_group)"
            )
    for layer in layers:
        layer.forward = partial(_forward, layer, shard)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def sharing_layers(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Returns the layers by which the samples of a batch have a part in one another's features."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, BATCH_NORM) and (layer.training or layer.running_mean is None)
    ]


def _momentum(layer: nn.modules.batchnorm._BatchNorm) -> float:
    if layer.momentum is None:
        raise ValueError("batch norm with momentum None (a cumulative average) cannot be shared by several workers")
    return float(layer.momentum)


def _forward(layer: nn.modules.batchnorm._BatchNorm, shard: Shard, inputs: Tensor) -> Tensor:
    outputs: Tensor
    outputs, mean, variance, count = _Normalise.apply(inputs, layer.weight, layer.bias, layer.eps, shard)
    if layer.running_mean is not None and layer.running_var is not None:
        momentum = _momentum(layer)
        unbiased = variance * (count / (count - 1).clamp_min(1))
        layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
        layer.running_var.lerp_(unbiased.to(layer.running_var.dtype), momentum)
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    return outputs


class _Normalise(torch.autograd.Function):
    """(x − μ) / √(σ² + ε) · w + b, with μ and σ² over the samples (and pixels) of all processes."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, shard: Shard
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = inputs.to(computing_dtype(inputs))
        mean, variance, count = _moments(values, shard)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(inputs, weight, mean, scale, count)
        ctx.shard = shard
        on_channels = _on_channels(inputs)
        outputs = (values - on_channels(mean)) * on_channels(scale if weight is None else scale * weight)
        if bias is not None:
            outputs = outputs + on_channels(bias)
        ctx.mark_non_differentiable(mean, variance, count)
        return outputs.to(inputs.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, mean, scale, count = ctx.saved_tensors
        on_channels, channels = _on_channels(inputs), inputs.shape[1]
        gradient = gradients[0].to(mean.dtype)
        normalised = (inputs.to(mean.dtype) - on_channels(mean)) * on_channels(scale)
        dims = _all_but_channels(inputs)
        for_bias, for_weight = gradient.sum(dims), (gradient * normalised).sum(dims)
        sums = ctx.shard.sum(torch.cat([for_bias, for_weight])) / count
        centred = gradient - on_channels(sums[:channels]) - normalised * on_channels(sums[channels:])
        for_inputs = centred * on_channels(scale if weight is None else scale * weight)
        if weight is None:
            return for_inputs.to(inputs.dtype), None, None, None, None
        return for_inputs.to(inputs.dtype), for_weight.to(weight.dtype), for_bias.to(weight.dtype), None, None


def _moments(values: Tensor, shard: Shard) -> tuple[Tensor, Tensor, Tensor]:
    """Returns mean (C,), variance (C,) and count () over all processes, from each one's own (Chan et al., 1979)."""
    count = values.numel() // values.shape[1]
    channels = values.shape[1]
    own = values.new_zeros(2 * channels + 1)
    if count:
        dims = _all_but_channels(values)
        variance, mean = torch.var_mean(values, dims, correction=0)
        own[:channels], own[channels:-1], own[-1] = mean, variance, count
    everyone = shard.everyone(own)
    means, variances, counts = everyone[:, :channels], everyone[:, channels:-1], everyone[:, -1:]
    total = counts.sum()
    share = counts / total
    mean = (share * means).sum(dim=0)
    variance = (share * (variances + (means - mean).square())).sum(dim=0)
    return mean, variance, total


def _all_but_channels(values: Tensor) -> list[int]:
    return [dim for dim in range(values.ndim) if dim != 1]


def _on_channels(values: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the function that makes (C,) broadcast over tensors of this shape."""
    shape = (1, -1, *(1 for _ in range(values.ndim - 2)))
    return lambda vector: vector.view(shape)
