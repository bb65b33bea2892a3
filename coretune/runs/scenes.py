"""What recorded segmentation runs predict for some images of a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from coretune.data.mask_pack import PackedMasks
from coretune.errors import RequestError
from coretune.results.store import ResultsStore
from coretune.runs.build import open_job_data
from coretune.runs.recorded import recorded_job
from coretune.runs.trained import load_model
from coretune.segment.evaluation import predicted_classes, whole_images
from coretune.spec.catalog.evaluations import SegmentationParameters
from coretune.tuning.context import Context

Plane = NDArray[np.uint8]


class Predicted(NamedTuple):
    """An image (H, W, 3), its true classes (H, W; 255 is void), and those that each run predicts, by label."""

    name: str
    image: Plane
    truth: Plane
    predicted: dict[str, Plane]


@torch.no_grad()
def predicted_scenes(
    store: ResultsStore, runs: Mapping[str, tuple[str, str]], context: Context, *, images: int, path: str | None = None
) -> tuple[list[Predicted], tuple[str, ...]]:
    """Predicts the classes of some test images' pixels, the same images for all runs.

    Args:
        store: Where the runs and their weights are.
        runs: Id and weights (`last` or `best`) of each, by label; of one data set.
        context: Where they are computed.
        images: How many, spread evenly over the part in the order of names.
        path: Where the data lie, or None for what the study says.

    Returns:
        The images, and the names of the classes.

    Raises:
        RequestError: A run is none of segmentation, or has other data or other test images than the first.
        UnfitError: The data are not there, or have changed.
        StorageError: Weights are gone or damaged.
    """
    scenes: list[Predicted] = []
    classes: tuple[str, ...] = ()
    fingerprint = ""
    for label, (run_id, weights) in runs.items():
        job, catalog = recorded_job(store, run_id, data_path=path)
        if job.spec.segmentation is None:
            raise RequestError(f"run {run_id} predicts a class for each image, not for each pixel")
        if fingerprint not in ("", job.spec.data.fingerprint):
            raise RequestError(f"run {run_id} has other images than the first run; name runs of one data set")
        fingerprint = job.spec.data.fingerprint
        dataset = open_job_data(job, catalog)
        packed, test = dataset.packed, dataset.split.test
        chosen = test[np.unique(np.linspace(0, len(test) - 1, min(images, len(test))).astype(np.int64))]
        classes = packed.classes
        scenes = scenes or [_scene(packed, index) for index in chosen.tolist()]
        if [scene.name for scene in scenes] != [packed.names[index] for index in chosen.tolist()]:
            raise RequestError(f"run {run_id} is tested on other images than the first run; name runs of one data set")
        model = load_model(job, weights, dataset, store, catalog, context).eval()
        found = [
            plane
            for batch, _ in whole_images(packed, chosen, context)
            for plane in predicted_classes(model, batch, SegmentationParameters()).byte().cpu().numpy()
        ]
        for scene, plane in zip(scenes, found, strict=True):
            scene.predicted[label] = plane
    return scenes, classes


def _scene(packed: PackedMasks, index: int) -> Predicted:
    image, truth = packed[index]
    return Predicted(packed.names[index], image, truth, {})
