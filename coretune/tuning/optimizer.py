"""The optimiser and the learning rate of the one recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from coretune.nets.backbone import Backbone
from coretune.nets.scale_shift import BATCH_NORM, ScaleShift
from coretune.spec.run import TrainSpec

NORMS = (
    BATCH_NORM,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.instancenorm._InstanceNorm,
    ScaleShift,
)
"""Modules whose scales and shifts are spared weight decay where `decay_norm_and_bias` is off."""
POWER = 0.9
"""Exponent of the polynomial schedule."""
FUSED_ON = ("cpu", "cuda")
"""Devices with an update in one kernel. On the CPU it takes a seventh of the time of torch's default."""


def make_optimizer(encoder: nn.Module, method: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """Returns the optimiser over all parameters that ask for a gradient.

    Each group has `scale`, its learning rate as a multiple of the schedule's: 1 for the encoder, `head_lr` for the
    method's modules (classifier, projection head). A parameter that both contain belongs to the encoder.

    Raises:
        ValueError: No parameter asks for a gradient.
    """
    groups: list[dict[str, Any]] = []
    seen: set[nn.Parameter] = set()
    for module, scale in ((encoder, 1.0), (method, spec.head_lr)):
        decayed, spared = _divide(module, spec.decay_norm_and_bias, seen)
        for params, decay in ((decayed, spec.weight_decay), (spared, 0.0)):
            if params:
                groups.append({"params": params, "weight_decay": decay, "scale": scale, "lr": spec.lr * scale})
    fused = all(parameter.device.type in FUSED_ON for parameter in seen) or None
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, betas=(spec.momentum, 0.999), fused=fused)
    nesterov = spec.nesterov and spec.momentum > 0
    optimizer = torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov, fused=fused)
    if spec.momentum > 0:
        # A momentum of 0 is what torch starts from, too; but its fused kernel refuses parameters that get their first
        # gradient later than others, as those of a method with stages do.
        for parameter in seen:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def trained_parameters(encoder: nn.Module, method: nn.Module) -> list[nn.Parameter]:
    """Returns what `make_optimizer` trains, as modules have it: from those of the first layer to those of the heads."""
    both = dict.fromkeys([*encoder.parameters(), *method.parameters()])
    return [parameter for parameter in both if parameter.requires_grad]


def forget(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Sets what the optimiser remembers of some parameters back to its start: no momentum, no step counted."""
    for parameter in parameters:
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, torch.Tensor):
                value.zero_()


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str, epoch_steps: int = 1) -> float:
    """Returns the learning rate of a step as a fraction of its peak.

    Linear from 1 / warmup to 1 over the warm-up, step by step, then constant, a half cosine that would reach 0 at
    `steps`, or `polynomial`, (1 − t)^0.9 with t the finished share of what is left after the warm-up (Chen et al.,
    arXiv 1706.05587, section 4.1). `cosine_by_epoch` holds in all of an epoch what the cosine has at the epoch's first
    step; in the epoch in which the warm-up ends, that is the peak.

    Args:
        step: Zero-based optimiser step.
        steps: Number of steps in all.
        warmup: Number of warm-up steps; may be fractional.
        schedule: `cosine`, `cosine_by_epoch`, `polynomial` or `constant`.
        epoch_steps: Number of steps of an epoch; of meaning for `cosine_by_epoch` alone.
    """
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if schedule == "constant" or steps <= warmup:
        return 1.0
    if schedule == "cosine_by_epoch":
        step -= step % epoch_steps
    done = max(0.0, step - warmup)
    if schedule == "polynomial":
        return float((1 - done / (steps - warmup)) ** POWER)
    return 0.5 * (1 + math.cos(math.pi * done / (steps - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of all groups, each times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]


def is_norm_or_bias(owner: nn.Module, name: str) -> bool:
    """Returns whether a parameter is one of a norm layer, or a bias.

    Args:
        owner: The module whose own parameter it is.
        name: Its name there.
    """
    return isinstance(owner, NORMS) or name.endswith("bias")


def _divide(
    module: nn.Module, decay_all: bool, seen: set[nn.Parameter]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    undecayed = module.undecayed if isinstance(module, Backbone) else frozenset()
    for path, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                whole = f"{path}.{name}" if path else name
                plain = decay_all or not (is_norm_or_bias(owner, name) or whole in undecayed)
                (decayed if plain else spared).append(parameter)
    return decayed, spared
