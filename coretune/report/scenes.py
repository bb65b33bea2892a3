"""Predicted classes of pixels beside the true ones, in colours."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from coretune.errors import RequestError
from coretune.results.files import put_atomic

VOID = 255
VOID_COLOUR = (224, 224, 192)
"""That of VOC's borders."""
LEGEND = 40
"""Classes that a legend can name."""

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """An image, and what its pixels are.

    Attributes:
        name: Its name.
        image: (H, W, 3) RGB.
        truth: (H, W) classes, or 255 for void.
        predicted: (H, W) classes by the label of what predicts them.
    """

    name: str
    image: Plane
    truth: Plane
    predicted: Mapping[str, Plane]


def write_scenes(
    path: Path, scenes: Sequence[Scene], classes: Sequence[str], heads: Mapping[str, str] | None = None
) -> None:
    """Writes the picture of `draw_scenes` as a PNG of 120 dots per inch, whole or not at all.

    Raises:
        RequestError: As `draw_scenes`.
        StorageError: The disk is full or the folder is read-only.
    """
    content = io.BytesIO()
    draw_scenes(scenes, classes, heads).savefig(content, format="png", dpi=120)
    put_atomic(path, content.getvalue())


def draw_scenes(scenes: Sequence[Scene], classes: Sequence[str], heads: Mapping[str, str] | None = None) -> Figure:
    """Draws a row for each image: the image, its truth, and each prediction; the classes that occur are named below.

    Args:
        scenes: The images.
        classes: Names of the classes.
        heads: What stands above the predictions of a label; None: the label.

    Raises:
        RequestError: There is no image, or images have different predictions.
    """
    labels = list(scenes[0].predicted) if scenes else []
    if not labels or any(list(scene.predicted) != labels for scene in scenes):
        raise RequestError("a picture of predictions needs an image, and the same predictions of each")
    titles = ["image", "truth", *((heads or {}).get(label, label) for label in labels)]
    figure = Figure(figsize=(2.6 * len(titles), 2.1 * len(scenes) + 0.9), dpi=120, layout="constrained")
    axes = figure.subplots(len(scenes), len(titles), squeeze=False)
    for row, scene in zip(axes, scenes, strict=True):
        planes = [coloured(scene.truth), *(coloured(scene.predicted[label]) for label in labels)]
        for place, picture, title in zip(row, [scene.image, *planes], titles, strict=True):
            place.imshow(picture, interpolation="nearest")
            place.set_xticks([])
            place.set_yticks([])
            if scene is scenes[0]:
                place.set_title(title, fontsize=8)
        row[0].set_ylabel(scene.name, fontsize=6)
    everything = [plane for scene in scenes for plane in (scene.truth, *scene.predicted.values())]
    seen = sorted(set(np.concatenate([np.unique(plane) for plane in everything]).tolist()) - {VOID})
    patches = [Patch(color=tuple(palette()[c] / 255), label=classes[c]) for c in seen[:LEGEND]]
    patches.append(Patch(color=tuple(np.array(VOID_COLOUR) / 255), label="void"))
    figure.legend(handles=patches, loc="outside lower center", ncols=min(8, len(patches)), fontsize=7, frameon=False)
    return figure


def coloured(plane: Plane) -> Plane:
    """Returns the colours (H, W, 3) of classes (H, W)."""
    found: Plane = palette()[plane]
    return found


def palette() -> Plane:
    """Returns (256, 3) the colours of PASCAL VOC's own maps: bit 3k + j of a class is bit 7 − k of its channel j."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    values = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((values >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    colours[VOID] = VOID_COLOUR
    return colours
