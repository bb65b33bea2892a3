"""The pre-training task: all training images, without labels, and how good its features are meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from coretune.data.dataset import Dataset
from coretune.nets.model import Model
from coretune.spec.catalog.evaluations import NeighbourParameters
from coretune.spec.run import RunSpec
from coretune.tuning.context import Context
from coretune.tuning.neighbours import drawn, evaluate_neighbours
from coretune.tuning.sampled import SampledTask


class PretrainingTask(SampledTask):
    """Trains on the whole training part. The validation part is looked at for `evaluate` alone, the test part never.

    Args:
        dataset: The data, split.
        spec: The run.
        views: Augmented views per image, as the method asks.
        whole_images: Whether each of several workers makes the images of all samples, as the method asks.
        regroups: As in `SampledTask`.
    """

    objective: tuple[str, Literal["max", "min"]] | None = None

    def __init__(
        self, dataset: Dataset, spec: RunSpec, views: int, *, whole_images: bool = False, regroups: bool = False
    ) -> None:
        super().__init__(dataset, dataset.split.train, spec, views, whole_images=whole_images, regroups=regroups)
        self._dataset = dataset

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns `knn_top1` (per cent): nearest neighbours of the validation images among the training images.

        Labels have no part in the training; here they tell what it is worth. Nothing without them. Of many images as
        many are drawn as the bank holds, the same ones at every epoch and for every seed of the training.
        """
        split, params = self._dataset.split, NeighbourParameters()
        asked = drawn(split.validation, params.bank, seed=0)
        return evaluate_neighbours(model, self._dataset.packed, asked, context, labelled=split.train, params=params)
