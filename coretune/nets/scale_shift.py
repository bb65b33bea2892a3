"""A scale and a shift after every layer of a backbone that rests, and their exact merge into these layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, fx, nn

from coretune.errors import RequestError

BATCH_NORM = nn.modules.batchnorm._BatchNorm
CHANNELS_SECOND = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    BATCH_NORM,
    nn.GroupNorm,
    nn.modules.instancenorm._InstanceNorm,
)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)


class ScaleShift(nn.Module):
    """γ ⊙ layer(x) + β with one γ and one β per channel (Lian et al., NeurIPS 2022, arXiv 2210.08823, eq. 3).

    The layer rests: its parameters ask for no gradient, and it is always in evaluation mode, so that batch norm keeps
    its running statistics and uses them.

    Args:
        layer: A convolution, linear or norm layer.
        std: γ starts from N(1, std²) and β from N(0, std²), drawn from torch's global generator.

    Attributes:
        layer: The layer.
        scale: γ, of the shape of the layer's bias.
        shift: β, likewise.
    """

    def __init__(self, layer: nn.Module, std: float) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False).eval()
        self._second = _channels_second(layer)
        like = next(layer.parameters(), torch.empty(0))
        self.scale = nn.Parameter(torch.empty(_shape(layer), dtype=like.dtype, device=like.device).normal_(1.0, std))
        self.shift = nn.Parameter(torch.empty_like(self.scale).normal_(0.0, std))

    @property
    def weight(self) -> Tensor | None:
        """γ W: attention that reads its linear layers' weights without calling them sees the scale so."""
        weight = _tensor(self.layer, "weight")
        scale = self.scale
        return (
            None if weight is None else weight * scale.view(*scale.shape, *(1 for _ in range(weight.ndim - scale.ndim)))
        )

    @property
    def bias(self) -> Tensor:
        """γ b + β, likewise."""
        bias = _tensor(self.layer, "bias")
        return self.shift if bias is None else bias * self.scale + self.shift

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of all but the layer."""
        super().train(mode)
        self.layer.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the layer's output, scaled and shifted."""
        outputs: Tensor = self.layer(inputs)
        if not self._second:
            return outputs * self.scale + self.shift
        shape = (-1, *(1 for _ in range(outputs.ndim - 2)))
        return outputs * self.scale.view(shape) + self.shift.view(shape)


def insert_scale_shift(encoder: nn.Module, std: float) -> None:
    """Puts a `ScaleShift` in the place of every convolution, linear and norm layer, and lets all else rest.

    A layer that was `conv1` is `conv1.layer` then, with its weights.

    Args:
        encoder: Changed in place.
        std: As in `ScaleShift`.

    Raises:
        RequestError: There is no such layer, or attention that reads its layers' weights without calling them.
    """
    encoder.requires_grad_(False)
    _insert(encoder, std)
    if not any(isinstance(module, ScaleShift) for module in encoder.modules()):
        raise RequestError(f"{type(encoder).__name__} has no convolution, linear or norm layer to scale and shift")


def merged(encoder: nn.Module) -> nn.Module:
    """Returns a plain copy of an encoder, every scale and shift folded into its layer: the same features.

    W ← γ W and b ← γ b + β. Where a layer has no b and feeds batch norm alone, the norm's running mean takes β off
    (μ ← μ − β). The copy has the original architecture's keys, and gives the encoder's features in evaluation mode.

    Args:
        encoder: Left as it is.

    Raises:
        RequestError: A layer has no weight, or neither a bias nor a batch norm that it alone feeds.
    """
    plain = copy.deepcopy(encoder).eval()
    parts = {name: part for name, part in plain.named_modules() if isinstance(part, ScaleShift)}
    norms = _norms_after(plain, parts)
    with torch.no_grad():
        for name, part in parts.items():
            _fold(name, part, norms.get(name))
            owner, _, last = name.rpartition(".")
            setattr(plain.get_submodule(owner), last, part.layer)
    return plain


def _shape(layer: nn.Module) -> tuple[int, ...]:
    for width in ("out_channels", "num_features", "num_channels", "out_features"):
        if hasattr(layer, width):
            return (int(getattr(layer, width)),)
    return tuple(layer.normalized_shape)  # type: ignore[arg-type]


def _channels_second(layer: nn.Module) -> bool:
    if isinstance(layer, CHANNELS_SECOND):
        return True
    if not isinstance(layer, nn.LayerNorm) or type(layer).forward is nn.LayerNorm.forward:
        return False
    # A layer norm of another kind, perhaps of maps (torchvision's and timm's LayerNorm2d): a map that is no batch of
    # vectors of this width tells.
    (width,) = layer.normalized_shape
    try:
        with torch.no_grad():
            layer(layer.weight.new_zeros(1, width, 1, width + 1))
    except RuntimeError:
        return False
    return True


def _insert(module: nn.Module, std: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.MultiheadAttention):
            raise RequestError(
                f"{name}: nn.MultiheadAttention reads its layers' weights, which hides a scale and shift"
            )
        if isinstance(child, (*CHANNELS_SECOND, *CHANNELS_LAST)):
            setattr(module, name, ScaleShift(child, std))
        elif not isinstance(child, ScaleShift):
            _insert(child, std)


def _fold(name: str, part: ScaleShift, norm: nn.Module | None) -> None:
    weight, bias, scaled = _tensor(part.layer, "weight"), _tensor(part.layer, "bias"), part.weight
    mean = None if norm is None else _tensor(norm, "running_mean")
    if weight is None or scaled is None or (bias is None and mean is None):
        lacks = "weight" if weight is None else "bias, and feeds no batch norm alone"
        raise RequestError(f"the scale and shift after {name} cannot be merged: it has no {lacks}")
    weight.copy_(scaled)
    if bias is not None:
        bias.copy_(part.bias)
    elif mean is not None:
        mean.sub_(part.shift)


def _tensor(layer: nn.Module, name: str) -> Tensor | None:
    found: Tensor | None = getattr(layer, name, None)
    return found


class _Calls(fx.Tracer):
    """Follows the data through an encoder, from one `ScaleShift` to the next."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ScaleShift) or super().is_leaf_module(m, module_qualified_name)


def _norms_after(encoder: nn.Module, parts: Mapping[str, ScaleShift]) -> dict[str, nn.Module]:
    """Returns, by name of a layer without a bias, the batch norm that takes its output and nothing else's."""
    unbiased = [name for name, part in parts.items() if _tensor(part.layer, "bias") is None]
    if not unbiased:
        return {}
    try:
        nodes = list(_Calls().trace(encoder).nodes)
    except Exception as error:  # a backbone may be anybody's code, with branches that cannot be traced
        raise RequestError(f"cannot follow the data through {type(encoder).__name__}: {error}") from error
    calls: dict[str, set[fx.Node]] = {name: set() for name in parts}
    for node in nodes:
        if node.op == "call_module" and node.target in parts:
            calls[str(node.target)].add(node)
    found: dict[str, nn.Module] = {}
    for name in unbiased:
        takers = {taker for call in calls[name] for taker in call.users}
        for other, part in parts.items():
            givers = {giver for call in calls[other] for giver in call.all_input_nodes}
            if isinstance(part.layer, BATCH_NORM) and calls[other] == takers and givers == calls[name]:
                found[name] = part.layer
    return found
