"""A plug-in for tests: CE-tuning that fails as it is told, on one worker of several or on all."""

from __future__ import annotations

import os
import signal
import weakref
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.tuning.heads import linear_classifier
from coretune.tuning.method import LossTerms, Method, Step

ODD = str(Path(__file__).resolve())


class Parameters(Frozen):
    """What goes wrong: `nan`, `error`, `memory`, `kill`, or nothing.

    Attributes:
        what: That.
        rank: On which worker; −1 for all.
        at: In which call of the loss, from 1.
        room: How many samples' activations there is memory for.
        once: A file that is made the first time, and after which nothing goes wrong.
    """

    what: str = ""
    rank: int = -1
    at: int = 3
    room: int = 0
    once: str = ""


class Odd(Method):
    """CE-tuning that fails."""

    def __init__(self, params: Parameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.classifier = linear_classifier(features, classes)
        self.params = params
        self.calls = 0
        self.live: weakref.WeakSet[_Buffer] = weakref.WeakSet()

    def prepare(self, encoder: nn.Module) -> None:
        """Watches how many samples' activations the encoder leaves in memory."""
        if self.params.room and self._mine():
            encoder.register_forward_hook(self._count)

    def loss(self, step: Step) -> LossTerms:
        """Cross-entropy, until it fails."""
        self.calls += 1
        total = F.cross_entropy(self.classifier(step.features), step.labels)
        if self.calls == self.params.at and self._mine() and not self._happened():
            total = self._go_wrong(total)
        return LossTerms(total, {})

    def _mine(self) -> bool:
        return self.params.rank == -1 or (dist.is_initialized() and dist.get_rank() == self.params.rank)

    def _happened(self) -> bool:
        if not self.params.once:
            return False
        path = Path(self.params.once)
        before = path.exists()
        path.touch()
        return before

    def _go_wrong(self, total: Tensor) -> Tensor:
        if self.params.what == "nan":
            return total * float("nan")
        if self.params.what == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
        if self.params.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.params.what == "error":
            raise ZeroDivisionError("a bug")
        return total

    def _count(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not (output.requires_grad and module.training):
            return None
        kept = _Buffer(output.shape[0])
        self.live.add(kept)
        total = sum(map(len, self.live))
        if total > self.params.room:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to keep {total} images.")
        marked: Tensor = _Mark.apply(output, torch.frombuffer(kept, dtype=torch.uint8))
        return marked


class _Buffer(bytearray):
    """A byte for each sample; it is hashed by its identity."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class _Mark(torch.autograd.Function):
    """Keeps a tensor for as long as the graph keeps the activations beside it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, mark: Tensor) -> Tensor:
        ctx.save_for_backward(mark)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        assert len(ctx.saved_tensors) == 1
        return gradients[0], None


COMPONENTS = [Component(kind="method", name="odd", target=":Odd", summary="fails as it is told", parameters=Parameters)]
