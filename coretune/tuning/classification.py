"""The classification task, and the evaluation of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from coretune.data.dataset import Dataset
from coretune.data.pack import Packed
from coretune.nets.model import Model
from coretune.results.selection import TIES
from coretune.spec.frozen import Frozen
from coretune.spec.run import RunSpec
from coretune.tuning.context import Context
from coretune.tuning.metrics import ClassificationMetrics
from coretune.tuning.sampled import SampledTask
from coretune.tuning.sampling import plain_images, to_device


class ClassificationTask(SampledTask):
    """Trains on the labelled images and evaluates on the validation part.

    Args:
        dataset: The data, split.
        spec: The run.
        views: Augmented views per image, as the method asks.
        whole_images: Whether each of several workers makes the images of all samples, as the method asks.
        regroups: As in `SampledTask`.
    """

    def __init__(
        self, dataset: Dataset, spec: RunSpec, views: int, *, whole_images: bool = False, regroups: bool = False
    ) -> None:
        super().__init__(dataset, dataset.split.labelled, spec, views, whole_images=whole_images, regroups=regroups)
        self._dataset = dataset
        self.objective: tuple[str, Literal["max", "min"]] | None = (
            spec.best_by,
            "min" if spec.best_by == "cross_entropy" else "max",
        )
        if spec.data.held_out_domain is not None:
            self.ties = TIES

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns `top1` and `mean_per_class` (per cent) and `cross_entropy` (nats) on the validation part."""
        return evaluate_classification(model, self._dataset.packed, self._dataset.split.validation, context)


@torch.no_grad()
def evaluate_classification(
    model: Model,
    packed: Packed,
    indices: NDArray[np.int64],
    context: Context,
    *,
    params: Frozen | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Evaluates a classifier on some images, without augmentation. Workers divide the images among them.

    Args:
        model: In evaluation mode, on the context's device.
        packed: The images.
        indices: (m,) which of them.
        context: Device and batch size, and the workers.
        params: Without effect: accuracy has no parameters.
        seed: Without effect: nothing is drawn.

    Returns:
        `top1` and `mean_per_class` in per cent, `cross_entropy` in nats.
    """
    metrics = ClassificationMetrics(len(packed.classes), context.device, context.shard)
    indices = indices[context.shard.rank :: context.shard.workers]
    labels = to_device(torch.from_numpy(packed.labels[indices]), context.device)
    seen = 0
    for images in plain_images(packed, indices, context):
        metrics.update(model(images), labels[seen : seen + len(images)])
        seen += len(images)
    return metrics.compute()
