"""Random numbers of attacks: what is drawn for an image follows from (seed, purpose, its number) alone.

Batch, order, limit, workers and device do not change it, so that one image meets the same attack wherever it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coretune.data.draws import sample_uniforms, uniforms

IMAGE_DIMENSIONS = 4
"""Of what is drawn by image, (n, C, H, W); what has fewer is drawn once for all images of a batch."""

COMMON_BLOCK = 1024
"""Numbers that all images share, made at a time."""

HALF_STEP = 2.0**-25
"""Half the distance of two neighbouring uniform numbers: keeps them away from 0 and 1."""


def uniform_rows(seed: int, purpose: str, draw: int, index: NDArray[np.int64], columns: int) -> Tensor:
    """Returns uniform numbers in [0, 1) by image, (n, columns), on the CPU.

    Args:
        seed: Of the evaluation.
        purpose: What they are for.
        draw: Zero-based number of the draw.
        index: (n,) numbers of the images.
        columns: Numbers per image.
    """
    return torch.from_numpy(sample_uniforms(seed, purpose, draw, index, columns))


def normal_rows(seed: int, purpose: str, draw: int, index: NDArray[np.int64], columns: int) -> Tensor:
    """Returns standard normal numbers by image, (n, columns), on the CPU; arguments as in `uniform_rows`."""
    return normal_of(uniform_rows(seed, purpose, draw, index, columns))


def normal_of(uniform: Tensor) -> Tensor:
    """Returns standard normal numbers of uniform ones in [0, 1), by the inverse of the distribution function."""
    return (math.sqrt(2) * torch.erfinv(2 * (uniform.double() + HALF_STEP) - 1)).float()


class SampleDraws(TorchFunctionMode):
    """While it is entered, what torchattacks draws from torch's generators is drawn by image instead.

    Of a tensor (n, C, H, W), row i belongs to the i-th image of `index`. What has fewer dimensions is drawn once for
    all (Square's places and sizes), from (seed, purpose, number of the draw).

    Args:
        seed: Of the evaluation.
        purpose: What the numbers are for: the attack and its restart.
        index: (n,) numbers of the images that the attack sees.
    """

    def __init__(self, seed: int, purpose: str, index: NDArray[np.int64]) -> None:
        super().__init__()
        self._seed = seed
        self._purpose = purpose
        self._index = index
        self._draws = 0
        self._common = torch.empty(0)
        self._blocks = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves for a while: what a model draws is its own, and none of its functions takes the detour."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self.__enter__()  # type: ignore[no-untyped-call]

    def keep(self, rows: Tensor) -> None:
        """Forgets images that the attack is done with.

        Args:
            rows: (n,) bool, which of the present ones stay.
        """
        self._index = self._index[rows.cpu().numpy()]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answers the functions that draw; all others do what they always do."""
        named = kwargs or {}
        if func is torch.rand or func is torch.randn:
            return self._drawn(_shape(args), named.get("device"), normal=func is torch.randn)
        if func is torch.randn_like:
            return self._drawn(args[0].shape, args[0].device, normal=True).to(args[0].dtype)
        if func is Tensor.uniform_:
            low, high = (*args[1:], 0.0, 1.0)[:2]
            values = self._drawn(args[0].shape, args[0].device, normal=False)
            return args[0].copy_(low + (high - low) * values)
        if func is Tensor.normal_:
            return args[0].copy_(self._drawn(args[0].shape, args[0].device, normal=True))
        return func(*args, **named)

    def _drawn(self, shape: torch.Size, device: Any, *, normal: bool) -> Tensor:
        draw, self._draws = self._draws, self._draws + 1
        columns = math.prod(shape[1:])
        if len(shape) == IMAGE_DIMENSIONS and shape[0] <= len(self._index):
            values = uniform_rows(self._seed, self._purpose, draw, self._index[: shape[0]], columns)
        else:
            values = self._shared(math.prod(shape))
        values = (normal_of(values) if normal else values).reshape(shape)
        return values if device is None else values.to(device)

    def _shared(self, count: int) -> Tensor:
        """Returns the next numbers that all images share, made in blocks: a few numbers at a time would cost more."""
        while len(self._common) < count:
            block = uniforms(self._seed, f"{self._purpose} of all images", self._blocks, 1, COMMON_BLOCK)[0]
            self._common = torch.cat([self._common, torch.from_numpy(block)])
            self._blocks += 1
        values, self._common = self._common[:count], self._common[count:]
        return values


class DrawsApart(nn.Module):
    """A model for which draws are paused.

    Args:
        model: Images → logits.
        draws: Entered while it is called.
    """

    def __init__(self, model: nn.Module, draws: SampleDraws) -> None:
        super().__init__()
        self.model = model
        self._draws = draws

    def forward(self, images: Tensor) -> Tensor:
        """Returns the model's logits."""
        with self._draws.paused():
            logits: Tensor = self.model(images)
        return logits


def _shape(sizes: Sequence[Any]) -> torch.Size:
    return torch.Size(sizes[0] if sizes and not isinstance(sizes[0], int) else sizes)
