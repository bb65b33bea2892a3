"""What tasks share whose batches come from a `Sampler` and whose loss is a method's, by contrast batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from coretune.data.dataset import Dataset
from coretune.nets.model import Model
from coretune.spec.run import RunSpec
from coretune.tuning.context import Context
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.division import divide
from coretune.tuning.method import Examples, LossTerms, Method
from coretune.tuning.sampling import Sampler, plain_images, to_device
from coretune.tuning.task import Batch, Moment


class SampledTask:
    """Base of tasks that train on some images of a packed data set.

    Args:
        dataset: The images, and their domains.
        indices: (m,) which of them to train on.
        spec: The run.
        views: Augmented views per image, as the method asks.
        whole_images: Whether each of several workers makes the images of all samples, as the method asks.
        regroups: Whether the method encodes contrast batches again in groups of their own.

    Raises:
        RequestError: Batches are to be balanced by domain, and the images have none.
    """

    ties: str | None = None

    def __init__(
        self,
        dataset: Dataset,
        indices: NDArray[np.int64],
        spec: RunSpec,
        views: int,
        *,
        whole_images: bool = False,
        regroups: bool = False,
    ) -> None:
        self._train = spec.train
        self._views = views
        self._whole_images = whole_images
        self._regroups = regroups
        balanced = spec.train.domain_balanced
        domains = (
            dataset.needed_domains(indices, "train.domain_balanced") if balanced else dataset.domains_among(indices)
        )
        self._sampler = Sampler(
            dataset.packed,
            indices,
            spec.data.augment,
            spec.train.batch,
            views,
            spec.seed,
            spec.data.input_side,
            None if domains is None else domains.of,
            balanced,
        )

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        return self._sampler.steps()

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        """Yields an epoch's batches from number `start` on."""
        rank, workers = context.shard.rank, context.shard.workers
        if workers == 1 or self._whole_images:
            return self._sampler.batches(epoch, start, context)

        def own(size: int) -> NDArray[np.int64]:
            return divide(size, self._train, workers, views=self._views, regroups=self._regroups).whole.own(rank)

        return self._sampler.batches(epoch, start, context, own)

    def examples(self, context: Context) -> Examples:
        """Returns the images that are trained on, as an evaluation would see them."""
        packed, indices = self._sampler.packed, self._sampler.indices
        labels = to_device(torch.from_numpy(packed.labels[indices]), context.device)
        return Examples(
            labels, lambda chosen: plain_images(packed, indices[chosen.numpy()], context), context.evaluation_batch
        )

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        """Returns the mean loss over the batch's contrast batches."""
        return contrast_loss(model, batch, method, self._train, moment, context)
