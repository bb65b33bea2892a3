"""The picture of features: its arrays, one file whatever it is given, no pyplot and no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sklearn.manifold  # noqa: F401 - before `one_thread`, which reaches only what is loaded
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from coretune.errors import RequestError
from coretune.report.feature_maps import draw_feature_maps, principal, write_feature_maps


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """t-SNE's threads wait busily for each other: a hundred times as slow on a machine that does something else too."""
    with threadpool_limits(1):
        yield


def blobs(n: int, d: int, classes: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draws = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return draws.normal(size=(n, d)) + 6 * draws.normal(size=(classes, d))[labels], labels


def points(axes: Axes) -> NDArray[np.float64]:
    (cloud,) = axes.collections
    return np.asarray(cloud.get_offsets())


def test_columns_show_the_same_samples_in_the_same_colours() -> None:
    features, labels = blobs(24, 8, 4)
    order = np.random.default_rng(0).permutation(24)
    models = {"CE": features, "Core": features, "other": features[:, :3]}
    figure = draw_feature_maps(models, labels, classes=("a", "b", "c", "d"))
    pca, tsne = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title().split(",")[0] for axes in pca] == ["CE: PCA", "Core: PCA", "other: PCA"]
    assert [axes.get_title() for axes in tsne] == ["CE: t-SNE", "Core: t-SNE", "other: t-SNE"]
    for row in (pca, tsne):
        assert np.array_equal(points(row[0]), points(row[1])) and not np.array_equal(points(row[0]), points(row[2]))
        colours = [axes.collections[0].get_facecolors() for axes in row]
        assert all(np.array_equal(colour, colours[0]) for colour in colours)
        assert len(np.unique(colours[0], axis=0)) == 4
        assert all(len(np.unique(colours[0][labels == c], axis=0)) == 1 for c in range(4))
    assert np.allclose(points(pca[0]), principal(features)[0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c", "d"]
    shuffled = draw_feature_maps({"CE": features[order]}, labels[order])
    assert np.allclose(points(shuffled.axes[0]), points(pca[0])[order]) and not shuffled.legends


def test_neighbours_stay_neighbours() -> None:
    features, labels = blobs(30, 8, 3)
    found = points(draw_feature_maps({"a": features}, labels, perplexity=5).axes[1])
    distances = np.linalg.norm(found[:, None] - found, axis=2) + np.diag(np.full(30, np.inf))
    assert np.array_equal(labels[distances.argmin(axis=1)], labels)


def test_principal_components() -> None:
    features, _ = blobs(40, 6, 3)
    found, shown = principal(features)
    values = np.linalg.eigvalsh(np.cov(features.T, bias=True))[::-1]
    assert np.allclose(found.var(axis=0), values[:2])
    assert np.isclose(found[:, 0] @ found[:, 1], 0)
    assert np.isclose(shown, values[:2].sum() / values.sum())
    turned, _ = principal(7 - features @ np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0])
    assert np.allclose(turned, found)
    assert (found.max(axis=0) >= -found.min(axis=0)).all()


def test_principal_components_that_are_not_there() -> None:
    line = np.array([0.0, 1.0, 2.0, 7.0])
    found, shown = principal(line[:, None])
    assert np.allclose(found, np.stack([line - 2.5, np.zeros(4)], axis=1)) and shown == 1.0
    found, shown = principal(np.full((5, 3), 0.5))
    assert not found.any() and shown == 1.0


@pytest.mark.parametrize("classes", [1, 15, 30])
def test_any_number_of_classes_and_degenerate_features(classes: int) -> None:
    features, labels = blobs(36, 5, classes)
    models = {"zeros": np.zeros((36, 2)), "line": features[:, :1]}
    figure = draw_feature_maps(models, labels * 3, classes=[str(c) for c in range(3 * classes)])
    assert len(np.unique(figure.axes[0].collections[0].get_facecolors(), axis=0)) == classes
    assert len(figure.legends) == (classes <= 20)
    assert all(np.isfinite(points(axes)).all() for axes in figure.axes)
    assert not points(figure.axes[2]).any()


def test_the_smallest_picture(tmp_path: Path) -> None:
    write_feature_maps(tmp_path / "x.png", {"a": np.eye(5)}, np.arange(5))
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (600, 1200) and picture.format == "PNG"


def test_wrong_arguments(tmp_path: Path) -> None:
    features, labels = blobs(9, 3, 3)
    for models, numbers, said in (
        ({"a": features}, labels[:4], r"labels: needs at least 5 integers, got shape \(4,\)"),
        ({"a": features}, labels.astype(float), "labels: needs at least 5 integers"),
        ({}, labels, "features: needs at least one model's"),
        ({"a": features[:8]}, labels, r"features of a: needs shape \(9, d\), got \(8, 3\)"),
        ({"a": features[:, 0]}, labels, r"features of a: needs shape \(9, d\), got \(9,\)"),
        ({"a": features * np.nan}, labels, "features of a: needs finite values"),
    ):
        with pytest.raises(RequestError, match=said):
            write_feature_maps(tmp_path / "x.png", models, numbers)
    assert not list(tmp_path.iterdir())


def test_neither_pyplot_nor_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, numpy as np\n"
        "from coretune.report.feature_maps import write_feature_maps\n"
        "write_feature_maps(pathlib.Path(sys.argv[1]), {'a': np.zeros((6, 2))}, np.arange(6))\n"
        "print([name for name in ('torch', 'ray', 'matplotlib.pyplot') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]" and (tmp_path / "x.png").is_file()
