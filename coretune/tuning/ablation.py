"""What a loss rises by when one channel of an encoder's layer is set to zero, channel by channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from coretune.tuning.feature_maps import outer_layers

Encode = Callable[[Tensor], Tensor]
SampleLosses = Callable[[Tensor], Tensor]
"""(n, d) features → (n,) losses."""


@torch.no_grad()
def channel_rises(
    encoder: nn.Module, encode: Encode, layers: Mapping[str, int], images: Tensor, losses: SampleLosses, rows: int
) -> Iterator[Tensor]:
    """Yields by how much each sample's loss rises without a channel, some channels at a time.

    Only the layer's block and what follows it are computed again: the blocks before it give what they gave with all
    channels. So the cost is one forward pass, and per channel one of the upper part for all samples. In memory are the
    outputs of the encoder's blocks for the samples, and what one forward pass of `rows` images takes.

    Args:
        encoder: In evaluation mode; each sample's features depend on that sample alone.
        encode: Images to features, by the encoder.
        layers: Names of layers that put out (n, C, H, W), and their C, in any order.
        images: (n, 3, H, W).
        losses: Losses of samples by their features, n or a multiple of n of them: the samples again and again.
        rows: Images per forward pass, at least; at most, if n is not above.

    Yields:
        (c, n) rises of the next c channels, layer by layer in the given order, in float64.
    """
    size = images.shape[0]
    at_once = max(1, rows // size)
    trace = _Trace(size)
    with trace.listening(encoder, layers):
        plain = losses(encode(images)).double()
    for name, channels in layers.items():
        lower = trace.outputs_before(name)
        for start in range(0, channels, at_once):
            chosen = range(start, min(start + at_once, channels))
            copies = _again(images, len(chosen))
            with _given(lower, len(chosen)), _zeroed(encoder.get_submodule(name), chosen, size):
                found = losses(encode(copies)).double()
            yield found.view(len(chosen), size) - plain


@dataclass
class _Trace:
    """When an encoder's blocks ran, and what they put out.

    Attributes:
        size: Samples per call.
        clock: Events so far.
        begun: When a layer first began, by name.
        blocks: Blocks by name: the module, how often it ran, when it last ended, and its last output.
    """

    size: int
    clock: int = 0
    begun: dict[str, int] = field(default_factory=dict)
    blocks: dict[str, tuple[nn.Module, int, int, object]] = field(default_factory=dict)

    @contextmanager
    def listening(self, encoder: nn.Module, layers: Mapping[str, int]) -> Iterator[None]:
        """Listens to the encoder's blocks, and to when these layers begin."""
        with ExitStack() as hooks:
            for name in layers:
                module = encoder.get_submodule(name)
                hooks.callback(module.register_forward_pre_hook(self._beginning(name)).remove)
            for name, module in outer_layers(encoder).items():
                hooks.callback(module.register_forward_hook(self._ending(name)).remove)
            yield

    def outputs_before(self, layer: str) -> list[tuple[nn.Module, Tensor]]:
        """Returns the blocks that ran once, before a layer did, and what they put out."""
        return [
            (module, output)
            for module, runs, ended, output in self.blocks.values()
            if runs == 1 and ended < self.begun[layer] and isinstance(output, Tensor) and len(output) == self.size
        ]

    def _beginning(self, name: str) -> Callable[[nn.Module, Any], None]:
        def note(module: nn.Module, inputs: Any) -> None:
            self.clock += 1
            self.begun.setdefault(name, self.clock)

        return note

    def _ending(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            self.clock += 1
            runs = self.blocks[name][1] if name in self.blocks else 0
            # Copied, since what follows may work in place.
            kept = output.clone() if isinstance(output, Tensor) else None
            self.blocks[name] = (module, runs + 1, self.clock, kept)

        return note


@contextmanager
def _given(outputs: Sequence[tuple[nn.Module, Tensor]], times: int) -> Iterator[None]:
    """Lets modules put out what they are said to, so many times, whatever comes in."""
    before = [(module, vars(module).get("forward")) for module, _ in outputs]
    for module, output in outputs:
        module.forward = _Constant(output, times)
    try:
        yield
    finally:
        for module, forward in before:
            if forward is None:
                del module.forward
            else:
                module.forward = forward


class _Constant:
    """A forward pass that always gives the same."""

    def __init__(self, output: Tensor, times: int) -> None:
        self._output = output
        self._times = times

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        return _again(self._output, self._times)


@contextmanager
def _zeroed(layer: nn.Module, channels: range, size: int) -> Iterator[None]:
    """Sets the k-th of these channels to zero in a layer's outputs of the k-th `size` samples."""

    def change(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        output = output.clone()
        for number, channel in enumerate(channels):
            output[number * size : (number + 1) * size, channel] = 0
        return output

    handle = layer.register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


def _again(values: Tensor, times: int) -> Tensor:
    """Returns (times · n, ...): the samples again and again, in memory of its own."""
    return values.repeat(times, *[1] * (values.ndim - 1))
