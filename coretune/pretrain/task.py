"""The pre-training task: all training images, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from coretune.data.dataset import Dataset
from coretune.nets.model import Model
from coretune.spec.run import RunSpec
from coretune.tuning.context import Context
from coretune.tuning.sampled import SampledTask


class PretrainingTask(SampledTask):
    """Trains on the whole training part; validation and test parts are not touched.

    Args:
        dataset: The data, split.
        spec: The run.
        views: Augmented views per image, as the method asks.
        whole_images: Whether each of several workers makes the images of all samples, as the method asks.
    """

    objective: tuple[str, Literal["max", "min"]] | None = None

    def __init__(self, dataset: Dataset, spec: RunSpec, views: int, *, whole_images: bool = False) -> None:
        super().__init__(dataset.packed, dataset.split.train, spec, views, whole_images=whole_images)

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns nothing: labels have no part in pre-training. The loss is in the report's `train`."""
        return {}
