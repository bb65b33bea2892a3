"""An epoch's batches: order, images, augmentation, all drawn by (seed, purpose, epoch, sample)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.augment import augment, plain, streams
from coretune.data.draws import order, uniforms
from coretune.data.pack import Packed
from coretune.data.pages import fetch
from coretune.spec.augment import AugmentSpec
from coretune.tuning.balanced import Visit, balanced_order
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.context import Context
from coretune.tuning.task import Batch


@dataclass(frozen=True)
class Sampler:
    """Draws the training batches of one run.

    Attributes:
        packed: The images.
        indices: (m,) which of them to train on.
        augment: Augmentation.
        batch: Samples per batch. The last batch of an epoch may be smaller; a single left-over sample joins it.
        views: Augmented views per image.
        seed: Seed of order and augmentation.
        size: Side of the views in pixels; None: that of the images.
        domain: (N,) which domain an image is of, numbered from 0 without a gap among those that are trained on; None
            where the data have none.
        balanced: Whether domains take turns, as `balanced_order` says; needs `domain`.
    """

    packed: Packed
    indices: NDArray[np.int64]
    augment: AugmentSpec
    batch: int
    views: int
    seed: int
    size: int | None = None
    domain: NDArray[np.int64] | None = None
    balanced: bool = False

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        return len(chunk_sizes(len(self.indices), self.batch))

    def batches(
        self, epoch: int, start: int, context: Context, own: Callable[[int], NDArray[np.int64]] | None = None
    ) -> Iterator[Batch]:
        """Yields an epoch's batches from number `start` on.

        Args:
            epoch: Zero-based epoch.
            start: Zero-based batch to begin with.
            context: Device and memory format.
            own: Given the size of a batch, whose images are made: (m,) ascending positions in it. None: all.
        """
        device = context.device
        sizes = chunk_sizes(len(self.indices), self.batch)
        visit = self._visit(epoch)
        chosen = self.indices[visit.order]
        # What is small goes to the device once per epoch, so that a step only takes slices of it.
        index = to_device(torch.from_numpy(chosen), device)
        labels = to_device(torch.from_numpy(self.packed.labels[chosen]), device)
        domain = None if self.domain is None else to_device(torch.from_numpy(self.domain[chosen]), device)
        draws = [self._draws(view, epoch, chosen, visit.again, device) for view in range(self.views)]
        for end, size in list(zip(accumulate(sizes), sizes, strict=True))[start:]:
            part = slice(end - size, end)
            made = part if own is None else end - size + own(size)
            images = gather_images(self.packed, chosen[made], device)
            where = part if own is None else to_device(torch.from_numpy(made), device)
            views = tuple(
                augment(images, rows[where], self.augment, self.size).contiguous(memory_format=context.memory_format)
                for rows in draws
            )
            yield Batch(views, labels[part], index[part], None if domain is None else domain[part])

    def _visit(self, epoch: int) -> Visit:
        if not self.balanced:
            return Visit(order(self.seed, epoch, len(self.indices)), None)
        assert self.domain is not None
        return balanced_order(self.seed, epoch, self.domain[self.indices])

    def _draws(
        self, view: int, epoch: int, chosen: NDArray[np.int64], again: NDArray[np.int64] | None, device: torch.device
    ) -> Tensor:
        tables = []
        for purpose, columns in streams(self.augment).items():
            found = uniforms(self.seed, f"{purpose}{view}", epoch, len(self.packed.labels), columns)[chosen]
            # A sample that comes again in an epoch is augmented anew.
            for number in range(1, 1 + (0 if again is None else int(again.max(initial=0)))):
                repeated = again == number
                stream = f"{purpose}{view}, again {number}"
                found[repeated] = uniforms(self.seed, stream, epoch, len(self.packed.labels), columns)[chosen[repeated]]
            tables.append(found)
        return to_device(torch.from_numpy(np.concatenate(tables, axis=1)), device)


def plain_images(packed: Packed, indices: NDArray[np.int64], context: Context) -> Iterator[Tensor]:
    """Yields images as an evaluation sees them (`Packed.sides`): (m, 3, H, W) in [0, 1], in the order of indices.

    Args:
        packed: The images.
        indices: (n,) which of them.
        context: Device, memory format and batch size m.
    """
    for start in range(0, len(indices), context.evaluation_batch):
        images = gather_images(packed, indices[start : start + context.evaluation_batch], context.device)
        yield plain(images, packed.sides).contiguous(memory_format=context.memory_format)


def gather_images(packed: Packed, chosen: NDArray[np.int64], device: torch.device) -> Tensor:
    """Returns images (n,) of a pack as uint8 (n, H, W, 3) on a device."""
    shape = (len(chosen), *packed.images.shape[1:])
    images = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    fetch(packed.images, chosen)
    np.take(packed.images, chosen, axis=0, out=images.numpy(), mode="clip")  # other modes gather into a copy first
    return images.to(device, non_blocking=True)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor of the CPU on a device, without waiting for a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
