"""Several processes that train one model: each encodes some samples of a batch, all see the features of all of them.

A loss is computed in full by every process, on the same gathered features. Each goes back through its W-th part, W the
number of processes, and gradients of parameters are summed over the processes (`GradientSum`). What all compute alike
adds up to the whole that way; what comes back to one's own features is multiplied by W, since nobody else sends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from coretune.tuning.arguments import bad_argument
from coretune.tuning.division import Part

NEAR = 1e-3
"""How far means of losses of different processes may lie apart, absolutely and relatively."""


class Link:
    """A process group that can be left while others wait for this process.

    Gloo's connections are closed, and the others notice, once nothing refers to the group any more. What computes
    refers to the link instead.

    Args:
        group: The process group.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group: dist.ProcessGroup | None = group

    @property
    def group(self) -> dist.ProcessGroup:
        """The process group.

        Raises:
            RuntimeError: It was left.
        """
        if self._group is None:
            raise RuntimeError("this worker has left its process group")
        return self._group

    def leave(self) -> None:
        """Leaves the group: whoever waits for this process fails, at once with gloo."""
        if self._group is None:
            return
        if dist.get_backend(self._group) != "gloo":
            self._group.abort()  # else it would wait for what the others never send
        dist.destroy_process_group(self._group)
        self._group = None


@dataclass(frozen=True)
class Shard:
    """This process's place among those that train one model. The default is a process of its own.

    Attributes:
        rank: Number of this process, in [0, workers).
        workers: Number of processes.
        link: To their process group (NCCL on GPUs, gloo on CPUs), or None for torch's default one.
    """

    rank: int = 0
    workers: int = 1
    link: Link | None = None

    @property
    def group(self) -> dist.ProcessGroup | None:
        """Their process group, or None for torch's default one."""
        return None if self.link is None else self.link.group

    def gather(self, own: Tensor, part: Part) -> Tensor:
        """Returns the rows of all processes in the order of the samples; gradients flow to one's own rows.

        Args:
            own: (m, ...), the rows of the m samples that this process encodes, in the order of the samples.
            part: Who encodes which of the n samples.

        Returns:
            (n, ...), the same on all processes.

        Raises:
            ValueError: Other than m rows.
        """
        need = len(part.own(self.rank))
        if own.shape[0] != need:
            raise bad_argument("rows", own.shape[0], f"{need}, those of the images that this worker encodes")
        if self.workers == 1:
            return own
        gathered: Tensor = _Gather.apply(own, part, self)
        return gathered

    def sum(self, values: Tensor) -> Tensor:
        """Returns the sum over the processes; what is given may be changed."""
        if self.workers > 1:
            dist.all_reduce(values, group=self.group)
        return values

    def begin_sum(self, values: Tensor) -> dist.Work:
        """Begins to put the sum over several processes in place of some values, and returns what to wait on.

        All processes have to begin their collectives in the same order. To wait for it is to wait for no device.
        """
        work: dist.Work = dist.all_reduce(values, group=self.group, async_op=True)
        return work

    def everyone(self, own: Tensor) -> Tensor:
        """Returns what each process gives, (workers, ...); of one shape and dtype on all of them."""
        received = [torch.empty_like(own) for _ in range(self.workers)]
        dist.all_gather(received, own, group=self.group)
        return torch.stack(received)

    def agree(self, number: int, device: torch.device) -> int:
        """Returns the first process's number. Waits for the device."""
        if self.workers == 1:
            return number
        values = torch.tensor([number if self.rank == 0 else 0], device=device)
        return int(self.sum(values).item())

    def part_of(self, loss: Tensor) -> Tensor:
        """Returns the part of a loss, the same on all processes, that this one goes back through."""
        return loss if self.workers == 1 else loss / self.workers

    @torch.no_grad()
    def check_alike(self, weights: Iterable[Tensor], loss: float) -> None:
        """Makes sure that all processes train the same model with the same loss. Waits for the device.

        Args:
            weights: The trained ones, compared by their sum, which has to be the same to the last bit.
            loss: The epoch's mean, which may differ by rounding.

        Raises:
            RuntimeError: They differ.
        """
        if self.workers == 1:
            return
        sums = [weight.double().sum() for weight in weights]
        own = torch.stack([torch.stack(sums).sum(), sums[0].new_tensor(loss)])
        found = self.everyone(own).cpu()
        # A training that has diverged ends in NaN on all of them, and is told of elsewhere.
        same = torch.equal(found[:, 0].nan_to_num(), found[:1, 0].nan_to_num().expand(self.workers))
        if not same:
            self._refuse("weights have", found[:, 0], "does it draw from another generator than Step.generator?")
        if not torch.allclose(found[:, 1], found[0, 1], rtol=NEAR, atol=NEAR, equal_nan=True):
            self._refuse("losses have", found[:, 1], "does it use its own images alone, without Step.gather?")

    def _refuse(self, what: str, values: Tensor, question: str) -> None:
        raise RuntimeError(
            f"the workers' {what} come apart ({values.tolist()}): the method or a layer does not compute the same on "
            f"all of them; {question}"
        )


def flatten(tensors: list[Tensor]) -> Tensor:
    """Returns the elements of some tensors of one dtype as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Returns the parts of a vector that `flatten` made, of the shapes of these tensors."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, like, strict=True)]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, part: Part, shard: Shard) -> Tensor:
        ctx.part, ctx.shard = part, shard
        width = part.widest
        padded = own.new_zeros(width, *own.shape[1:])
        padded[: own.shape[0]] = own
        return shard.everyone(padded).flatten(0, 1).index_select(0, part.places(own.device))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own = ctx.part.rows(ctx.shard.rank, gradients[0].device)
        return gradients[0].index_select(0, own) * ctx.shard.workers, None, None
