"""A model on the images of an evaluation, divided among workers: what attacks and the verdict's probes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.draws import permutation
from coretune.data.pack import Packed
from coretune.errors import CheckError
from coretune.nets.model import Model
from coretune.robust.attack import Subjects, logits_of
from coretune.robust.headway import Teller
from coretune.tuning.context import Context
from coretune.tuning.sampling import plain_images, to_device
from coretune.tuning.shard import Shard

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """A model, images, and where and how they are judged.

    Attributes:
        model: On the context's device, ready to be attacked.
        packed: The images.
        context: Device and batch size, and the workers.
        seed: Of all that is drawn.
        teller: Is told how far this worker is.
    """

    model: Model
    packed: Packed
    context: Context
    seed: int
    teller: Teller = field(default_factory=Teller)

    @property
    def shard(self) -> Shard:
        """The workers."""
        return self.context.shard

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.context.device

    @property
    def chunk(self) -> int:
        """Images that go through the model at once."""
        return self.context.evaluation_batch

    def chunks(self, indices: Indices, size: int) -> Iterator[Indices]:
        """Yields some images' numbers, so many at a time."""
        for begin in range(0, len(indices), size):
            yield indices[begin : begin + size]

    def subjects(self, chosen: Indices) -> Subjects:
        """Returns some images to be attacked, whether or not the model classifies them correctly."""
        images = torch.cat(list(plain_images(self.packed, chosen, self.context)))
        labels = to_device(torch.from_numpy(self.packed.labels[chosen]), self.device)
        images = images.contiguous(memory_format=self.context.memory_format)
        return Subjects(images, labels, len(self.packed.classes), chosen, self.seed)

    @torch.no_grad()
    def correct(self, chosen: Indices) -> Subjects:
        """Returns those of some images that the model classifies correctly."""
        subjects = self.subjects(chosen)
        right = logits_of(self.model, subjects.images).argmax(dim=1) == subjects.labels
        return subjects.pick(right.nonzero().squeeze(1))

    def own(self, indices: Indices) -> Indices:
        """Returns this worker's part of some images."""
        return indices[self.shard.rank :: self.shard.workers]

    def sample(self, indices: Indices, purpose: str, most: int) -> Indices:
        """Returns this worker's part of at most so many of some images, drawn by the seed."""
        return self.own(np.sort(indices[permutation(self.seed, purpose, 0, len(indices))[:most]]))

    def gathered(self, own: Tensor, n: int) -> Tensor:
        """Returns the rows (n, c) of all images in their order, of each worker's rows in the order of `own`."""
        if self.shard.workers == 1:
            return own
        padded = own.new_zeros(-(-n // self.shard.workers), own.shape[1])
        padded[: len(own)] = own
        return self.shard.everyone(padded).transpose(0, 1).flatten(0, 1)[:n]

    def summed(self, value: int) -> int:
        """Returns the sum of a number over workers."""
        return int(self.shard.sum(torch.tensor([value], device=self.device)))

    def refuse(self, faults: Sequence[str]) -> None:
        """Ends the evaluation on all workers if one of them has found a contradiction.

        Raises:
            CheckError: One has.
        """
        if self.summed(len(faults)):
            raise CheckError("a self-check failed: " + ("; ".join(dict.fromkeys(faults)) or "on another worker"))
