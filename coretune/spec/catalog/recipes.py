"""The published recipe of MoCo-v2, which `coretune pretrain` starts from. Study files name their own values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coretune.spec.augment_presets import PRESETS

EPOCHS, BATCH, LR_PER_256 = 200, 256, 0.03
QUEUE = 65_536
GROUP = 32
"""Images of one GPU in the paper's batches of 256 on eight GPUs, among which batch norm takes its statistics."""
EVALUATIONS = 40
SMALL_SIDE = 64
"""Images of at most so many pixels a side lose too much in a net's first layers that are made for 224."""

_BLUR = ("blur", "blur_sigma")
"""In pixels of an image of 224: it would wipe out small ones, for which it is usually left out."""


def augmentation(given: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Returns the augmentation of both views: crop, flip, jitter, grey; blur where images have more than 64 pixels.

    Args:
        given: What is asked for, by key of `AugmentSpec`; over everything else.
        side: Of the images, in pixels.
    """
    published = PRESETS["moco_v2"].augment
    own = {key: value for key, value in published.items() if side > SMALL_SIDE or key not in _BLUR}
    return {"rotation": 0.0, **own, **given}


def recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the recipe: SGD without Nesterov, 0.03 per 256 images, weight decay 1e-4, cosine, 200 epochs.

    The learning rate follows the batch, the batch is contrasted as a whole, batch norm has groups of 32, and about
    `EVALUATIONS` epochs are evaluated.

    Args:
        given: What is asked for, by key of `TrainSpec`; over everything else.
    """
    batch, epochs = _whole(given.get("batch"), BATCH), _whole(given.get("epochs"), EPOCHS)
    contrast = _whole(given.get("contrast_batch"), batch)
    return {
        "epochs": epochs,
        "batch": batch,
        "contrast_batch": contrast,
        "bn_group": GROUP if contrast > GROUP else None,
        "lr": LR_PER_256 * batch / 256,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "head_lr": 1.0,
        "evaluate_every": max(1, epochs // EVALUATIONS),
        **given,
    }


def parameters(given: Mapping[str, Any], images: int) -> dict[str, Any]:
    """Returns MoCo-v2's own: momentum 0.999, temperature 0.2, a queue of 65,536 keys.

    A queue that holds most of the training images would hold each query's own image as a negative: of fewer images it
    is the largest power of two that is at most half of them.

    Args:
        given: What is asked for; over everything else.
        images: How many are trained on.
    """
    queue = min(QUEUE, 1 << max(0, (images // 2).bit_length() - 1))
    return {"momentum": 0.999, "temperature": 0.2, "queue": queue, **given}


def _whole(value: Any, default: int) -> int:
    """Returns a number that others follow; one that is wrong is refused where the recipe is checked."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
