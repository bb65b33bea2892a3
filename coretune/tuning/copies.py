"""Copies of the encoder that run in its place: momentum encoders, and the encoder as it was before fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor, nn

from coretune.tuning.modes import evaluation_mode


class EncoderCopy(nn.Module):
    """A copy of an encoder, without gradients, run through the model's own normalisation.

    In training mode its batch norm uses the batch's statistics and keeps running ones of its own.

    Args:
        encoder: Copied as it is now; not kept as a sub-module.
        resting: Whether the copy is always in evaluation mode.

    Attributes:
        net: The copy.
    """

    def __init__(self, encoder: nn.Module, *, resting: bool = False) -> None:
        super().__init__()
        self.net = frozen_copy(encoder)
        # In a tuple, since an attribute would make the trained encoder a part of this module too.
        self._encoder = (encoder,)
        self._resting = resting
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Sets the mode, of a copy that does not rest."""
        return super().train(mode and not self._resting)

    @torch.no_grad()
    def forward(self, images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns features (n, d) of images (n, 3, H, W) in [0, 1].

        Args:
            images: The images.
            encode: `Step.encode`: it knows the normalisation, and runs with the copy's weights in the encoder's place.
        """
        state = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        module = _Encoding(self._encoder[0], encode)
        with nullcontext() if self.training else evaluation_mode(self._encoder[0]):
            found: Tensor = torch.func.functional_call(
                module, {f"encoder.{name}": value for name, value in state.items()}, (images,)
            )
        return found

    @torch.no_grad()
    def follow(self, encoder: nn.Module, momentum: float) -> None:
        """Moves the copy's parameters: copy ← m copy + (1 − m) trained. Batch-norm buffers are its own."""
        follow(self.net, encoder, momentum)


class _Encoding(nn.Module):
    """An encoder and the function that runs it, as one module whose weights can be replaced for a call."""

    def __init__(self, encoder: nn.Module, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        self._encode = encode

    def forward(self, images: Tensor) -> Tensor:
        return self._encode(images)


def frozen_copy(module: nn.Module) -> nn.Module:
    """Returns a deep copy that asks for no gradient."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(module: nn.Module, trained: nn.Module, momentum: float) -> None:
    """Moves a module's parameters: own ← m own + (1 − m) trained."""
    for new, old in zip(trained.parameters(), module.parameters(), strict=True):
        old.mul_(momentum).add_(new, alpha=1 - momentum)
