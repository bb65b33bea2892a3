"""Feature maps of an encoder: which layers have them, and what they put out while the encoder runs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.backbone import Backbone
from coretune.tuning.modes import evaluation_mode

PROBE_SIDE = 64
"""Side in pixels of the empty image that tells the resolutions of an encoder's layers."""

Maps = tuple[Tensor, ...]


@torch.no_grad()
def stage_ends(encoder: nn.Module, count: int) -> list[str]:
    """Returns the names of the last convolutions of an encoder's last stages, in order; `layer4.2.conv3` in ResNet-50.

    Layers are the encoder's children, with those of an `nn.Sequential` in its place, that have parameters and put out
    (n, C, H, W), in the order in which they run. Consecutive ones of the same H and W are a stage. Its last layer that
    is an `nn.Conv2d` or has one among its own children (a block) gives the convolution: itself, or the last of those
    children, which leaves out shortcuts; a layer that has one deeper in it stands itself, with all that it puts out. A
    stage without any is represented by its last layer. Resolutions are those of an image of 64 pixels, or of the one
    size that the encoder takes, whatever the data have, so that the answer follows from the architecture alone. An
    encoder that is but a wrapper of one module has that one's layers.

    Args:
        encoder: Normalised images (n, 3, H, W) to features; it is run once, in evaluation mode.
        count: Stages, counted from the output; fewer where the encoder has fewer.

    Raises:
        RequestError: No layer puts out feature maps, or some put out tokens, (n, L, C) or (n, H, W, C).
    """
    layers = outer_layers(encoder)
    sizes = _sizes(encoder, layers)
    stages = [list(names) for _, names in groupby(sizes, key=sizes.__getitem__)]
    if not stages:
        raise RequestError(f"{type(encoder).__name__} has no layer that puts out feature maps (n, C, H, W)")
    return [_last_convolution(stage, layers) for stage in stages[-count:]]


def outer_layers(encoder: nn.Module) -> dict[str, nn.Module]:
    """Returns the layers of `stage_ends` by name: an encoder's children that have parameters, in their order."""
    return dict(_layers(*_unwrapped(encoder)))


@torch.no_grad()
def channels_of(encoder: nn.Module, layers: Sequence[str]) -> dict[str, int]:
    """Returns the number of channels C that each of these layers puts out, (n, C, H, W).

    Args:
        encoder: As in `stage_ends`; run once, in evaluation mode.
        layers: Names of layers in it.
    """
    found: dict[str, int] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            found[name] = output.shape[1]

    _probe(encoder, {name: encoder.get_submodule(name) for name in layers}, note)
    return {name: found[name] for name in layers}


class FeatureMaps:
    """Collects the outputs of an encoder's layers while it runs, by forward hooks, when it is told to.

    The maps keep their graph, also those made under `torch.utils.checkpoint`. Whoever collects tells the collector
    to `start` before the encoder runs and takes all maps before the backward pass: then it has stopped, and what
    the checkpoints run again is not collected. A copy of the encoder, made by `copy.deepcopy`, is not listened to.

    Args:
        encoder: Its calls are counted; not kept.
        layers: Names of layers in it, each run once per call (of a layer that runs more often, its last output).
    """

    def __init__(self, encoder: nn.Module, layers: Sequence[str]) -> None:
        self._layers = tuple(layers)
        self._outputs: dict[str, Tensor] = {}
        self._calls: list[Maps] | None = None
        for name in self._layers:
            encoder.get_submodule(name).register_forward_hook(_Listener(self, name))
        encoder.register_forward_hook(_Listener(self, None))

    def start(self) -> None:
        """Forgets what was collected, and collects from now on."""
        self._outputs.clear()
        self._calls = []

    def take(self, samples: int) -> Maps:
        """Returns the maps of the next samples, (samples, C, H, W) by layer; stops once all have been taken.

        Args:
            samples: How many, in the order in which they were encoded, however they were divided among calls. Of none
                there are no maps: an empty tuple.

        Raises:
            RuntimeError: So many were not collected.
        """
        parts: list[Maps] = []
        while samples > 0:
            if not self._calls:
                raise RuntimeError(f"feature maps of {samples} more samples are needed than were collected")
            call = self._calls.pop(0)
            size = call[0].shape[0]
            if size > samples:
                self._calls.insert(0, tuple(values[samples:] for values in call))
                call = tuple(values[:samples] for values in call)
            parts.append(call)
            samples -= min(size, samples)
        # Of several workers one may have encoded nothing: such a call stands for no sample, and nobody asks for it.
        while self._calls and not self._calls[0][0].shape[0]:
            self._calls.pop(0)
        if not self._calls:
            self._calls = None
        return joined(parts)

    @contextmanager
    def aside(self) -> Iterator[list[Maps]]:
        """Collects into a list of its own, one entry per call of the encoder; afterwards all is as it was."""
        kept, self._calls = self._calls, []
        try:
            yield self._calls
        finally:
            self._calls = kept

    def hear(self, name: str | None, output: Any) -> None:
        """Called after each layer, and (without a name) after the encoder."""
        if self._calls is None:
            return
        if name is not None:
            self._outputs[name] = output
            return
        self._calls.append(tuple(self._outputs[layer] for layer in self._layers))
        self._outputs.clear()


def joined(calls: Sequence[Maps]) -> Maps:
    """Returns the maps of some calls as those of one, of all their samples in turn; of no call, an empty tuple."""
    return calls[0] if len(calls) == 1 else tuple(torch.cat(values) for values in zip(*calls, strict=True))


class _Listener:
    """A forward hook of the original alone: a deep copy of its module gets one that does nothing."""

    def __init__(self, maps: FeatureMaps, name: str | None) -> None:
        self._maps = maps
        self._name = name

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._maps.hear(self._name, output)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _ignore


def _ignore(module: nn.Module, inputs: Any, output: Any) -> None:
    """A forward hook that does nothing."""


def _sizes(encoder: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, torch.Size]:
    """Returns the resolution (H, W) of those layers that put out feature maps, in the order in which they run."""
    sizes: dict[str, torch.Size] = {}
    tokens: list[str] = []

    def note(name: str, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        # The image is square, so that maps of unequal sides have their channels last.
        if output.ndim == 3 or (output.ndim == 4 and output.shape[1] == output.shape[2] != output.shape[3]):
            tokens.append(name)
        elif output.ndim == 4:
            sizes.pop(name, None)  # a layer that runs twice counts where it ran last
            sizes[name] = output.shape[2:]

    _probe(encoder, layers, note)
    if tokens:
        raise RequestError(
            f"{type(encoder).__name__} has no stages of feature maps (n, C, H, W): "
            f"from {tokens[0]} on it works on tokens (n, L, C) or (n, H, W, C)"
        )
    return sizes


def _probe(encoder: nn.Module, layers: Mapping[str, nn.Module], note: Callable[[str, object], None]) -> None:
    """Runs an encoder on an empty image, in evaluation mode, and tells what each of these layers puts out."""
    like = next(encoder.parameters(), torch.zeros(()))
    side = PROBE_SIDE
    if isinstance(encoder, Backbone):
        side = encoder.sizes.only or side
    handles = [
        layer.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, layer in layers.items()
    ]
    try:
        with evaluation_mode(encoder):
            encoder(torch.zeros(1, 3, side, side, dtype=like.dtype, device=like.device))
    finally:
        for handle in handles:
            handle.remove()


def _last_convolution(stage: Sequence[str], layers: Mapping[str, nn.Module]) -> str:
    for name in reversed(stage):
        if isinstance(layers[name], nn.Conv2d):
            return name
        inner = [child for child, module in layers[name].named_children() if isinstance(module, nn.Conv2d)]
        if inner:
            return f"{name}.{inner[-1]}"
        if any(isinstance(module, nn.Conv2d) for module in layers[name].modules()):
            return name
    return stage[-1]


def _unwrapped(encoder: nn.Module) -> tuple[nn.Module, str]:
    """Returns the module that holds the layers, and what their names begin with."""
    children = list(encoder.named_children())
    if len(children) == 1 and not isinstance(children[0][1], nn.Sequential) and any(children[0][1].children()):
        return children[0][1], f"{children[0][0]}."
    return encoder, ""


def _layers(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from _layers(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            yield f"{prefix}{name}", child
