"""The pre-training task: all training images, without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from coretune.data.dataset import Dataset
from coretune.nets.model import Model
from coretune.spec.run import RunSpec
from coretune.tuning.context import Context
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.method import LossTerms, Method
from coretune.tuning.sampling import Sampler
from coretune.tuning.task import Batch, Moment


class PretrainingTask:
    """Trains on the whole training part; validation and test parts are not touched.

    Args:
        dataset: The data, split.
        spec: The run.
        views: Augmented views per image, as the method asks.
    """

    objective: tuple[str, Literal["max", "min"]] | None = None

    def __init__(self, dataset: Dataset, spec: RunSpec, views: int) -> None:
        self._train = spec.train
        self._sampler = Sampler(
            dataset.packed, dataset.split.train, spec.data.augment, spec.train.batch, views, spec.seed
        )

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        return self._sampler.steps()

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        """Yields an epoch's batches from number `start` on."""
        return self._sampler.batches(epoch, start, context)

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        """Returns the mean loss over the batch's contrast batches."""
        return contrast_loss(model, batch, method, self._train, moment, context)

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns nothing: labels have no part in pre-training. The loss is in the report's `train`."""
        return {}
