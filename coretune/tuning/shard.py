"""Several processes that train one model: each encodes some samples of a batch, all see the features of all of them.

A loss is computed in full by every process, on the same gathered features. The gradient that it sends back to its own
features is multiplied by the number of processes, and gradients of parameters are averaged over them afterwards, as
DistributedDataParallel has it. So a parameter's gradient is the same whether it comes through the encoder of one
process (and is summed up by the average) or through what all processes compute alike (and is left as it is).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from coretune.tuning.arguments import bad_argument
from coretune.tuning.division import Part


@dataclass(frozen=True)
class Shard:
    """This process's place among those that train one model. The default is a process of its own.

    Attributes:
        rank: Number of this process, in [0, workers).
        workers: Number of processes.
        group: Their process group (NCCL on GPUs, gloo on CPUs), or None for torch's default one.
    """

    rank: int = 0
    workers: int = 1
    group: dist.ProcessGroup | None = None

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

    def agree(self, number: int, device: torch.device) -> int:
        """Returns the first process's number. Waits for the device."""
        if self.workers == 1:
            return number
        values = torch.tensor([number if self.rank == 0 else 0], device=device)
        return int(self.sum(values).item())

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Averages gradients over the processes, without waiting for a device.

        Args:
            parameters: The same ones on all processes. Which of them have no gradient has to be the same as well: they
                keep none, and take part as zeros, so that nobody has to ask the others first.
        """
        if self.workers == 1:
            return
        by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in parameters:
            by_dtype.setdefault(parameter.dtype, []).append(parameter)
        for alike in by_dtype.values():
            own = [parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in alike]
            averages = unflatten(self.sum(flatten(own)).div_(self.workers), own)
            torch._foreach_copy_(own, averages)

    @torch.no_grad()
    def check_alike(self, tensors: Iterable[Tensor]) -> None:
        """Makes sure that all processes hold the same numbers. Waits for the device.

        Raises:
            RuntimeError: They do not, by their sums.
        """
        if self.workers == 1:
            return
        own = torch.stack([tensor.double().sum() for tensor in tensors]).sum()
        sums = [torch.empty_like(own) for _ in range(self.workers)]
        dist.all_gather(sums, own, group=self.group)
        found = [value.item() for value in sums]
        # A training that has diverged ends in NaN on all of them, and is told of elsewhere.
        if len({str(value) for value in found}) > 1:
            raise RuntimeError(
                f"the workers' weights have come apart (sums {found}): the method or a layer does not compute the same "
                "on all of them; does it draw from another generator than Step.generator?"
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
        received = [torch.empty_like(padded) for _ in range(shard.workers)]
        dist.all_gather(received, padded, group=shard.group)
        return torch.cat(received).index_select(0, part.places(own.device))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own = ctx.part.rows(ctx.shard.rank, gradients[0].device)
        return gradients[0].index_select(0, own) * ctx.shard.workers, None, None
