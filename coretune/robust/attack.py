"""The contract of all attacks: images that the model classifies correctly in, perturbed images out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coretune.robust.threat import ThreatModel
from coretune.tuning.arguments import full_precision
from coretune.tuning.modes import evaluation_mode, private_random_numbers


@dataclass(frozen=True)
class Subjects:
    """Images under attack, which the model classifies correctly.

    Attributes:
        images: (n, 3, H, W) in [0, 1].
        labels: (n,) int64.
        classes: C.
        index: (n,) numbers of the images in their data set: what is drawn for an image follows from its number.
        seed: Of all that is drawn.
        warm: (n, 3, H, W), where an attack that has a start may begin: what a smaller ε led to; None: from anew.
    """

    images: Tensor
    labels: Tensor
    classes: int
    index: NDArray[np.int64]
    seed: int
    warm: Tensor | None = None

    def __len__(self) -> int:
        return self.images.shape[0]

    def pick(self, rows: Tensor) -> Self:
        """Returns some of them.

        Args:
            rows: (m,) their rows.
        """
        warm = None if self.warm is None else pick_rows(self.warm, rows)
        return replace(
            self,
            images=pick_rows(self.images, rows),
            labels=self.labels[rows],
            index=self.index[rows.cpu().numpy()],
            warm=warm,
        )


class Attempt(NamedTuple):
    """What an attack made.

    Attributes:
        images: (n, 3, H, W): of an image that was fooled, one that fools the model; of others the last try.
        fooled: (n,) bool, whether the model classifies it as another class.
    """

    images: Tensor
    fooled: Tensor


class Attack(Protocol):
    """A function that attacks a model, which `attackable` has made ready."""

    def __call__(self, model: nn.Module, subjects: Subjects, threat: ThreatModel, params: Any, /) -> Attempt:
        """Attacks.

        Args:
            model: Images (n, 3, H, W) in [0, 1] → logits (n, C).
            subjects: n ≥ 1 images.
            threat: Norm, and ε above 0.
            params: The attack's own.
        """
        ...


@contextmanager
def attackable(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Makes a model ready to be attacked, and puts back what was, whatever happens.

    It is in evaluation mode, gradients are enabled but for its parameters, which get none and keep the ones that they
    have; torch's global random numbers may be drawn; autocast is off, and convolutions on a GPU round to no TF32.

    Args:
        model: Changed meanwhile.
        device: Where it computes.
    """
    parameters = list(model.parameters())
    before = [(parameter.requires_grad, parameter.grad) for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with (
            evaluation_mode(model),
            private_random_numbers(device),
            torch.enable_grad(),
            full_precision(device),
            _whole_mantissas(device),
        ):
            yield
    finally:
        for parameter, (needs, gradient) in zip(parameters, before, strict=True):
            parameter.requires_grad_(needs)
            parameter.grad = gradient


@contextmanager
def _whole_mantissas(device: torch.device) -> Iterator[None]:
    """Keeps cuDNN from TF32, whose 10 bits would let batches of another size say another class, and small δ vanish."""
    before = torch.backends.cudnn.allow_tf32
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = before


class Connected(nn.Module):
    """A model whose logits have a gradient in any case: of zero where they depend on nothing that is differentiable.

    Attacks that are not ours would fail where gradients are cut off, instead of failing to fool.

    Args:
        model: Images (n, 3, H, W) → logits (n, C).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (n, C) in float32 at least."""
        logits = logits_of(self.model, images)
        if images.requires_grad and torch.is_grad_enabled() and not logits.requires_grad:
            logits = logits + 0 * images.flatten(1).sum(dim=1, keepdim=True)
        return logits


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor) -> Tensor:
    """Returns the predicted classes (n,) of images (n, 3, H, W)."""
    return logits_of(model, images).argmax(dim=1)


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Returns logits (n, C) in float32 at least."""
    logits: Tensor = model(images)
    return logits if logits.dtype == torch.float64 else logits.float()


def pick_rows(images: Tensor, rows: Tensor) -> Tensor:
    """Returns some images in the memory format of all; what an index picks is contiguous otherwise."""
    picked = images[rows]
    if images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        picked = picked.contiguous(memory_format=torch.channels_last)
    return picked


def column(values: Tensor) -> Tensor:
    """Returns one value per image (n,) as (n, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def gradient(loss: Tensor, images: Tensor) -> Tensor:
    """Returns the gradient of a loss with respect to images, zero where it does not depend on them."""
    if not loss.requires_grad:
        return torch.zeros_like(images)
    (found,) = torch.autograd.grad(loss, images, allow_unused=True)
    return torch.zeros_like(images) if found is None else found
