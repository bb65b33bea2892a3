"""What a task is: it brings the batches and judges the model; the loop and the methods know no more of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from coretune.nets.model import Model
from coretune.tuning.context import Context
from coretune.tuning.method import Examples, LossTerms, Method


@dataclass(frozen=True)
class Batch:
    """One optimiser step's samples, on the device.

    Attributes:
        views: One tensor (n, 3, H, W) in [0, 1] per view; normalisation is a layer of the model. Where several workers
            train, the m images that this one encodes, unless the method wants `whole_images`.
        labels: (n,) int64.
        index: (n,) int64, each sample's index in the data set.
        domain: (n,) int64 in [0, D), which of the D domains that are trained on each sample is of; None where the data
            have none.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    index: Tensor
    domain: Tensor | None = None


@dataclass(frozen=True)
class Moment:
    """Where in a training a step stands.

    Attributes:
        seed: The run's seed.
        epoch: Zero-based epoch.
        step: Zero-based step of the epoch.
        progress: Finished fraction of the training, in [0, 1).
    """

    seed: int
    epoch: int
    step: int
    progress: float


class Task(Protocol):
    """What the loop needs of a task.

    Attributes:
        objective: The metric of `evaluate` that tells the best epoch, and its direction; None if there is none.
        ties: The metric, lower is better, that decides between epochs of equal objective; None: the first is best.
    """

    objective: tuple[str, Literal["max", "min"]] | None
    ties: str | None

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        ...

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        """Yields an epoch's batches from number `start` on; the same ones whatever came before."""
        ...

    def examples(self, context: Context) -> Examples:
        """Returns the images that are trained on, without augmentation."""
        ...

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        """Returns the loss of a batch, attached to the graph."""
        ...

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns finite metrics of the model on the validation part; the model is in evaluation mode."""
        ...
