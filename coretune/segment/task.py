"""The segmentation task of the one loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Literal

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
from coretune.segment.crops import COLUMNS, PURPOSE, Draws, square_of_image, square_of_mask
from coretune.segment.encode import encoded
from coretune.segment.evaluation import evaluate_segmentation
from coretune.segment.methods import DenseMethod, PixelStep
from coretune.segment.model import SegmentationModel
from coretune.segment.weights import median_frequency
from coretune.spec.run import RunSpec
from coretune.spec.seeds import derive_seed
from coretune.spec.segmentation import MIOU, SegmentationSpec
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.context import Context
from coretune.tuning.contrast import mean_terms
from coretune.tuning.division import Division, divide
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
        RequestError: The run wants batches that are balanced by domain, or statistics of more images than there are.
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
        self._options.check_images(len(self._indices))
        self.objective: tuple[str, Literal["max", "min"]] | None = (MIOU, "max")
        self._weights: Tensor | None = None
        if self._options.class_weights == "median_frequency":
            self._weights = median_frequency(pixel_counts(dataset.packed)[self._indices])

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        return len(chunk_sizes(len(self._indices), self._spec.train.batch))

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        """Yields an epoch's batches from number `start` on; labels are the masks of all images, (n, side, side)."""
        sizes = chunk_sizes(len(self._indices), self._spec.train.batch)
        chosen = self._indices[order(self._spec.seed, epoch, len(self._indices))]
        squares = self._draws(PURPOSE, epoch, chosen, COLUMNS)
        colours = np.concatenate(
            [self._draws(f"{name}0", epoch, chosen, n) for name, n in streams(self._spec.data.augment).items()], axis=1
        )
        for end, size in list(zip(accumulate(sizes), sizes, strict=True))[start:]:
            part = slice(end - size, end)
            own = self._division(size, context).whole.own(context.shard.rank)
            images, masks = self._augmented(chosen[part], squares[part], colours[part], own, context)
            yield Batch((images,), masks, to_device(torch.from_numpy(chosen[part]), context.device))

    def examples(self, context: Context) -> Examples:
        """Refuses: no method of segmentation looks at images before the first step."""
        raise NotImplementedError("the methods of segmentation do not look at images before the first step")

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        """Returns the mean loss over the batch's contrast batches, each weighted by its images.

        Batch norm has statistics of `train.bn_group` images, by default one contrast batch. Of several workers each
        encodes its own images; all compute the whole loss of all outputs, which is the same on all of them.
        """
        assert isinstance(model, SegmentationModel) and isinstance(method, DenseMethod)
        masks, train = batch.labels, self._spec.train
        division = self._division(len(masks), context)
        outputs = encoded(model, batch.views[0], division.whole, context, auxiliary=self._options.auxiliary > 0)
        weights = None if self._weights is None else self._weights.to(context.device)
        sizes = chunk_sizes(len(masks), train.contrast_batch)
        parts = [
            method.pixel_loss(
                PixelStep(
                    outputs.part(slice(end - size, end)), masks[end - size : end], weights, _generator(moment, number)
                )
            )
            for number, (end, size) in enumerate(zip(accumulate(sizes), sizes, strict=True))
        ]
        return parts[0] if len(parts) == 1 else mean_terms(parts, [size / len(masks) for size in sizes])

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns `miou`, `pixel_accuracy` and `iou_<class>` (per cent) on the validation part."""
        return evaluate_segmentation(model, self._dataset.packed, self._dataset.split.validation, context)

    def _draws(self, purpose: str, epoch: int, chosen: Indices, columns: int) -> NDArray[np.float32]:
        """Returns (m, columns) uniform numbers of some images, by the image and not by its place in the batch."""
        return uniforms(self._spec.seed, purpose, epoch, len(self._dataset.packed.names), columns)[chosen]

    def _division(self, samples: int, context: Context) -> Division:
        return divide(samples, self._spec.train, context.shard.workers, views=1)

    def _augmented(
        self, chosen: Indices, squares: Draws, draws: NDArray[np.float32], own: Indices, context: Context
    ) -> tuple[Tensor, Tensor]:
        """Returns squares of this worker's images (m, 3, side, side), and of all masks (n, side, side)."""
        side, augment, scale = self._spec.data.input_side, self._spec.data.augment, self._options.scale
        pairs = [self._dataset.packed[index] for index in chosen.tolist()]
        masks = torch.stack(
            [
                square_of_mask(mask, row, side, scale, context.device)
                for (_, mask), row in zip(pairs, squares, strict=True)
            ]
        )
        cut = [square_of_image(pairs[place][0], squares[place], side, scale, context.device) for place in own.tolist()]
        images = torch.stack(cut) if cut else torch.zeros(0, 3, side, side, device=context.device)
        numbers, mine = (
            to_device(torch.from_numpy(draws), context.device),
            to_device(torch.from_numpy(own), context.device),
        )
        for turns, column, axis in ((augment.flip, FLIP, 2), (augment.vertical_flip, VERTICAL, 1)):
            if turns:
                turned = (numbers[:, column] < 0.5).view(-1, 1, 1)
                images = torch.where(turned[mine][:, None], images.flip(axis + 1), images)
                masks = torch.where(turned, masks.flip(axis), masks)
        images = blurred(recolour(images, numbers[mine], augment), numbers[mine], augment)
        return images.contiguous(memory_format=context.memory_format), masks.long()


def _generator(moment: Moment, number: int) -> torch.Generator:
    """Returns the generator of one contrast batch of a step."""
    return torch.Generator().manual_seed(derive_seed(moment.seed, "method", moment.epoch, moment.step, number))
