"""Gradients summed over the processes that train one model, while the backward pass goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from coretune.tuning.shard import Shard, flatten, unflatten

FIRST_BYTES = 1 << 20
BUCKET_BYTES = 25 << 20
"""Sizes of the first and of the other buckets, those of torch's DistributedDataParallel."""


class GradientSum:
    """Sums gradients over processes in buckets, each on its way as soon as the backward pass has made it.

    DistributedDataParallel's way (Li et al., VLDB 2020, arXiv 2006.15704, section 3.2) for what it cannot wrap: losses
    over several forward passes of modules, with collectives between them. Buckets are made once, from the last
    parameter to the first, and are sent in this order by all processes, whatever the order in which they get ready; so
    the sums are the same to the bit after a resume. A parameter that several forward passes of a step use (batch-norm
    groups, micro-batches) is ready when the last of them has been gone back through.

    Args:
        parameters: In the order in which the forward pass uses them, about; the same ones on all processes. Which of
            them have no gradient has to be the same as well: they keep none, and take part as zeros, so that nobody has
            to ask the others first.
        shard: The processes.
        first_bytes: Size from which on the first bucket is full: a small one is under way early.
        bucket_bytes: Size from which on the others are.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        shard: Shard,
        *,
        first_bytes: int = FIRST_BYTES,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self._shard = shard
        self._buckets = gradient_buckets(parameters, first_bytes, bucket_bytes)

    @contextmanager
    def of_backward(self) -> Iterator[None]:
        """Sums the gradients of the backward pass within; afterwards all processes have the same.

        Raises:
            RuntimeError: A gradient has changed after it was sent, by a second backward pass within, or one within the
                first.
        """
        if self._shard.workers == 1:
            yield
            return
        sums = _Sums(self._buckets, self._shard)
        try:
            with sums.hooks():
                yield
            sums.finish()
        finally:
            sums.forget()


class _Sums:
    """The sums of one backward pass."""

    def __init__(self, buckets: list[list[nn.Parameter]], shard: Shard) -> None:
        self._buckets = buckets
        self._shard = shard
        self._awaited = [set(bucket) for bucket in buckets]
        self._under_way: list[tuple[dist.Work, Tensor]] = []

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Notices gradients when they are complete."""
        handles = [
            parameter.register_post_accumulate_grad_hook(partial(self._ready, number))  # type: ignore[no-untyped-call]
            for number, bucket in enumerate(self._buckets)
            for parameter in bucket
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _ready(self, number: int, parameter: Tensor) -> None:
        if number < len(self._under_way):
            raise RuntimeError(
                f"the gradient of a parameter of shape {tuple(parameter.shape)} has changed after the workers began to "
                "sum it: a step has to go back once, without another backward pass inside of it"
            )
        assert isinstance(parameter, nn.Parameter)
        self._awaited[number].discard(parameter)
        while len(self._under_way) < len(self._buckets) and not self._awaited[len(self._under_way)]:
            self._send()

    @torch.no_grad()
    def _send(self) -> None:
        values = flatten(_gradients(self._buckets[len(self._under_way)]))
        self._under_way.append((self._shard.begin_sum(values), values))

    @torch.no_grad()
    def finish(self) -> None:
        """Sends what is left, and waits for all sums, but for no device."""
        while len(self._under_way) < len(self._buckets):
            self._send()
        for bucket, (work, values) in zip(self._buckets, self._under_way, strict=True):
            work.wait()
            own = _gradients(bucket)
            torch._foreach_copy_(own, unflatten(values, own))

    def forget(self) -> None:
        """Lets go of what is under way: it holds the process group, which whoever fails has to leave."""
        self._under_way.clear()


def gradient_buckets(
    parameters: Sequence[nn.Parameter], first_bytes: int, bucket_bytes: int
) -> list[list[nn.Parameter]]:
    """Returns the parameters from the last to the first, in buckets of one dtype and device each."""
    done: list[list[nn.Parameter]] = []
    open_buckets: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in reversed(parameters):
        kind = (parameter.dtype, parameter.device)
        bucket = open_buckets.setdefault(kind, [])
        bucket.append(parameter)
        if sum(each.nbytes for each in bucket) >= (bucket_bytes if done else first_bytes):
            done.append(open_buckets.pop(kind))
    return done + list(open_buckets.values())


def _gradients(bucket: Sequence[nn.Parameter]) -> list[Tensor]:
    return [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
