"""The segmentation task of the one loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.augment import streams
from coretune.data.augment.blur import blurred
from coretune.data.augment.colour import recolour
from coretune.data.augment.columns import FLIP, VERTICAL
from coretune.data.draws import order, uniforms
from coretune.data.mask_counts import pixel_counts
from coretune.data.mask_dataset import MaskDataset
from coretune.errors import RequestError
from coretune.nets.model import Model
from coretune.segment.crops import COLUMNS, PURPOSE, random_square
from coretune.segment.evaluation import evaluate_segmentation
from coretune.segment.methods import DenseMethod, PixelStep
from coretune.segment.model import Outputs, SegmentationModel
from coretune.segment.weights import median_frequency
from coretune.spec.run import RunSpec
from coretune.spec.seeds import derive_seed
from coretune.spec.segmentation import MIOU, SegmentationSpec
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.context import Context
from coretune.tuning.contrast import mean_terms
from coretune.tuning.method import Examples, LossTerms, Method
from coretune.tuning.sampling import to_device
from coretune.tuning.task import Batch, Moment

Indices = NDArray[np.int64]


class SegmentationTask:
    """Trains on random squares of images and masks, and evaluates on whole images of the validation part.

    Args:
        dataset: The data, split.
        spec: The run.
        views: Without effect: there is one view of each image.
        whole_images: Without effect.
        regroups: Without effect.

    Raises:
        RequestError: The run wants batches that are balanced by domain.
    """

    ties: str | None = None

    def __init__(
        self, dataset: MaskDataset, spec: RunSpec, views: int, *, whole_images: bool = False, regroups: bool = False
    ) -> None:
        if spec.train.domain_balanced:
            raise RequestError("train.domain_balanced: images with masks have no domains; leave it out")
        self._dataset = dataset
        self._spec = spec
        self._options = spec.segmentation or SegmentationSpec()
        self._indices = dataset.split.labelled
        self.objective: tuple[str, Literal["max", "min"]] | None = (MIOU, "max")
        self._weights: Tensor | None = None
        if self._options.class_weights == "median_frequency":
            self._weights = median_frequency(pixel_counts(dataset.packed)[self._indices])

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        return len(chunk_sizes(len(self._indices), self._spec.train.batch))

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        """Yields an epoch's batches from number `start` on; labels are masks, (n, side, side) int64.

        Raises:
            RequestError: Several workers share the training.
        """
        if context.shard.workers > 1:
            raise RequestError("segmentation trains with one worker per run; leave resources.workers out")
        sizes = chunk_sizes(len(self._indices), self._spec.train.batch)
        chosen = self._indices[order(self._spec.seed, epoch, len(self._indices))]
        squares = self._draws(PURPOSE, epoch, chosen, COLUMNS)
        colours = np.concatenate(
            [self._draws(f"{name}0", epoch, chosen, n) for name, n in streams(self._spec.data.augment).items()], axis=1
        )
        for end, size in list(zip(accumulate(sizes), sizes, strict=True))[start:]:
            part = slice(end - size, end)
            images, masks = self._augmented(chosen[part], squares[part], colours[part], context)
            yield Batch((images,), masks, to_device(torch.from_numpy(chosen[part]), context.device))

    def examples(self, context: Context) -> Examples:
        """Refuses: no method of segmentation looks at images before the first step."""
        raise NotImplementedError("the methods of segmentation do not look at images before the first step")

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        """Returns the mean loss over the batch's contrast batches, each weighted by its images.

        Batch norm has statistics of `train.bn_group` images, by default one contrast batch.
        """
        assert isinstance(model, SegmentationModel) and isinstance(method, DenseMethod)
        train, images, masks = self._spec.train, batch.views[0], batch.labels
        outputs = _outputs(model, images, train.bn_group or train.contrast_batch, self._options.auxiliary > 0)
        weights = None if self._weights is None else self._weights.to(context.device)
        sizes = chunk_sizes(len(images), train.contrast_batch)
        parts = [
            method.pixel_loss(
                PixelStep(
                    _part(outputs, slice(end - size, end)),
                    masks[end - size : end],
                    weights,
                    _generator(moment, number),
                )
            )
            for number, (end, size) in enumerate(zip(accumulate(sizes), sizes, strict=True))
        ]
        return parts[0] if len(parts) == 1 else mean_terms(parts, [size / len(images) for size in sizes])

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns `miou`, `pixel_accuracy` and `iou_<class>` (per cent) on the validation part."""
        return evaluate_segmentation(model, self._dataset.packed, self._dataset.split.validation, context)

    def _draws(self, purpose: str, epoch: int, chosen: Indices, columns: int) -> NDArray[np.float32]:
        """Returns (m, columns) uniform numbers of some images, by the image and not by its place in the batch."""
        return uniforms(self._spec.seed, purpose, epoch, len(self._dataset.packed.names), columns)[chosen]

    def _augmented(
        self, chosen: Indices, squares: NDArray[np.float32], draws: NDArray[np.float32], context: Context
    ) -> tuple[Tensor, Tensor]:
        """Returns squares of images (n, 3, side, side), and of masks (n, side, side): scale, crop, flips, colours."""
        side, augment = self._spec.data.input_side, self._spec.data.augment
        pairs = [
            random_square(self._dataset.packed[index], row, side, self._options.scale, context.device)
            for index, row in zip(chosen.tolist(), squares, strict=True)
        ]
        images, masks = torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])
        numbers = to_device(torch.from_numpy(draws), context.device)
        for turns, column, axis in ((augment.flip, FLIP, 2), (augment.vertical_flip, VERTICAL, 1)):
            if turns:
                turned = (numbers[:, column] < 0.5).view(-1, 1, 1)
                images = torch.where(turned[:, None], images.flip(axis + 1), images)
                masks = torch.where(turned, masks.flip(axis), masks)
        images = blurred(recolour(images, numbers, augment), numbers, augment)
        return images.contiguous(memory_format=context.memory_format), masks.long()


def _generator(moment: Moment, number: int) -> torch.Generator:
    """Returns the generator of one contrast batch of a step."""
    return torch.Generator().manual_seed(derive_seed(moment.seed, "method", moment.epoch, moment.step, number))


def _outputs(model: SegmentationModel, images: Tensor, group: int, auxiliary: bool) -> Outputs:
    """Returns the model's outputs, group by group where batch norm has smaller groups than the batch."""
    found = [model.outputs(part, auxiliary=auxiliary) for part in torch.split(images, chunk_sizes(len(images), group))]
    if len(found) == 1:
        return found[0]
    sides = [each.auxiliary for each in found]
    return Outputs(
        torch.cat([each.features for each in found]),
        torch.cat([each.logits for each in found]),
        torch.cat(cast(list[Tensor], sides)) if auxiliary else None,
    )


def _part(outputs: Outputs, rows: slice) -> Outputs:
    side = outputs.auxiliary
    return Outputs(outputs.features[rows], outputs.logits[rows], None if side is None else side[rows])
