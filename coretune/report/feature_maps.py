"""Features of several models side by side, in two dimensions: PCA above, t-SNE below."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from coretune.errors import RequestError
from coretune.results.files import put_atomic

Points = NDArray[np.float64]

LEGEND = 20
"""Classes that a legend can name."""


def write_feature_maps(
    path: Path,
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
    perplexity: float = 30.0,
) -> None:
    """Writes the picture of `draw_feature_maps` as a PNG of 150 dots per inch, whole or not at all.

    Raises:
        RequestError: As `draw_feature_maps`.
        StorageError: The disk is full or the folder is read-only.
    """
    figure = draw_feature_maps(features, labels, classes=classes, seed=seed, perplexity=perplexity)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    put_atomic(path, content.getvalue(), durable=False)


def draw_feature_maps(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
    perplexity: float = 30.0,
) -> Figure:
    """Draws one column per model: PCA in the first row, t-SNE in the second, a colour for each class.

    All columns show the same samples in the same colours. PCA is of the centred features and tells the share of their
    variance that it shows. t-SNE (van der Maaten and Hinton, JMLR 2008; scikit-learn's, started from the PCA) keeps
    neighbours and no distances: sizes of its clusters and gaps between them mean nothing.

    Args:
        features: By name of the model (n, d) each, with the same samples in the same order; d may differ.
        labels: (n,) integers.
        classes: Names of the classes by number, for the legend; none for no legend. More than 20 classes have none.
        seed: Of t-SNE.
        perplexity: Of t-SNE: about how many neighbours a sample has; at most (n − 1) / 3 is used.

    Raises:
        RequestError: No features, fewer than 5 samples, arrays that do not fit each other, or values not finite.
    """
    arrays, numbers = _checked(features, labels)
    figure = Figure(figsize=(4 * len(arrays), 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(arrays), squeeze=False)
    present = np.unique(numbers)
    colours = _colours(len(present))[np.searchsorted(present, numbers)]
    for column, (name, values) in enumerate(arrays.items()):
        projected, shown = principal(values)
        _scatter(axes[0, column], projected, colours, f"{name}: PCA, {shown:.0%} of the variance")
        neighbours = _neighbours(values, projected, seed, min(perplexity, (len(numbers) - 1) / 3))
        _scatter(axes[1, column], neighbours, colours, f"{name}: t-SNE")
    if classes and len(present) <= LEGEND:
        marks = [Line2D([], [], linestyle="", marker="o", color=colour) for colour in _colours(len(present))]
        figure.legend(marks, [classes[number] for number in present], loc="outside lower center", ncols=5)
    return figure


def principal(features: Points) -> tuple[Points, float]:
    """Returns the first two principal components (n, 2), each with its larger extreme positive, and their share.

    Args:
        features: (n, d). Directions that it lacks are 0; the share is of the variance, in [0, 1], 1 without any.
    """
    centred = features - features.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(features), 2))
    count = min(2, len(lengths))
    points[:, :count] = left[:, :count] * lengths[:count]
    # A singular vector's sign is free: this choice makes equal features give equal pictures.
    points *= np.where(points.max(axis=0) < -points.min(axis=0), -1.0, 1.0)
    total = float(np.square(lengths).sum())
    return points, float(np.square(lengths[:2]).sum()) / total if total > 0 else 1.0


def _neighbours(features: Points, start: Points, seed: int, perplexity: float) -> Points:
    spread = start[:, 0].std()
    if spread == 0:
        return start  # all samples are one point, of which t-SNE makes noise
    from sklearn.manifold import TSNE  # a second to import, and needed here only

    # The scale that t-SNE's own start by PCA has.
    model = TSNE(2, perplexity=perplexity, init=start / spread * 1e-4, random_state=seed)
    return np.asarray(model.fit_transform(features), dtype=np.float64)


def _scatter(axes: Axes, points: Points, colours: Points, title: str) -> None:
    axes.scatter(points[:, 0], points[:, 1], c=colours, s=8, linewidths=0)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def _colours(count: int) -> Points:
    """Returns (count, 4) colours: distinct ones for up to 20 classes, else of the whole circle."""
    if count <= 10:
        return np.asarray(colormaps["tab10"](np.arange(count)))
    if count <= 20:
        return np.asarray(colormaps["tab20"](np.arange(count)))
    return np.asarray(colormaps["hsv"](np.arange(count) / count))


def _checked(features: Mapping[str, ArrayLike], labels: ArrayLike) -> tuple[dict[str, Points], NDArray[Any]]:
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or len(numbers) < 5:
        raise RequestError(f"labels: needs at least 5 integers, got shape {numbers.shape} of {numbers.dtype}")
    if not features:
        raise RequestError("features: needs at least one model's")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in features.items()}
    for name, values in arrays.items():
        if values.ndim != 2 or len(values) != len(numbers) or values.shape[1] < 1:
            raise RequestError(f"features of {name}: needs shape ({len(numbers)}, d), got {values.shape}")
        if not np.isfinite(values).all():
            raise RequestError(f"features of {name}: needs finite values")
    return arrays, numbers
