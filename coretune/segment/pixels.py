"""Which pixels of a contrast batch Core-tuning makes its pairs of."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.masks import VOID
from coretune.data.splits import even_shares
from coretune.tuning.arguments import check_generator, check_number, check_tensor, check_whole_number

Places = NDArray[np.int64]


@torch.no_grad()
def choose_pixels(
    labels: Tensor, wrong: Tensor, *, pixels: int, distance: int, hard: float, generator: torch.Generator | None = None
) -> Tensor:
    """Samples positions of feature maps: classes alike, images alike in a class, wrongly and rightly predicted ones.

    1. A grid of every `distance`-th row and column, from an offset drawn for each image, leaves positions that are far
       enough from one another, so that no two of a pair are neighbours, whose receptive fields are nearly the same.
       Void is left out.
    2. The number of pixels is divided evenly over the classes that are left, that of a class evenly over the images
       that have it; who has fewer gives the rest to the others.
    3. Of each class in each image so many as `hard` says are predicted wrongly now, drawn at random, the others
       rightly; where one kind runs out, the other fills up (half and half in Wang et al., ICCV 2021, arXiv 2101.11939).

    Everything is drawn on the CPU, of numbers that do not depend on labels or predictions. A GPU is waited for once.

    Args:
        labels: (n, h, w) integers: classes, or `VOID`.
        wrong: (n, h, w) bool: whether a position is predicted wrongly.
        pixels: Most positions to return.
        distance: Least distance of two positions of an image, in rows or in columns, in positions.
        hard: Share in [0, 1] of wrongly predicted ones.
        generator: On the CPU; None for torch's global one.

    Returns:
        (N,) int64, N <= pixels: places in the flattened (n, h, w), ascending, on the device of the labels.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    check_tensor("labels", labels, "integer", ("n", "h", "w"), labels)
    check_tensor("wrong", wrong, "bool", tuple(labels.shape), labels)
    check_whole_number("pixels", pixels, 1)
    check_whole_number("distance", distance, 1)
    check_number("hard", hard, 0.0, 1.0)
    check_generator("generator", generator)
    offsets = torch.rand((labels.shape[0], 2), generator=generator, dtype=torch.float64)
    keys = torch.rand(labels.shape, generator=generator, dtype=torch.float64).numpy().ravel()
    on_grid = _grid(offsets.numpy(), tuple(labels.shape), distance)
    values = labels.cpu().numpy().ravel()
    failed = wrong.cpu().numpy().ravel()
    left = np.flatnonzero(on_grid & (values != VOID))
    left = left[np.argsort(keys[left], kind="stable")]
    of_classes = _groups(left, values[left])
    found = [
        place
        for places, count in zip(of_classes, even_shares([len(each) for each in of_classes], pixels), strict=True)
        for place in _of_class(places, count, failed, hard, labels.shape[1] * labels.shape[2])
    ]
    chosen = np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    return torch.from_numpy(chosen).to(labels.device)


def _grid(offsets: NDArray[np.float64], shape: tuple[int, ...], distance: int) -> NDArray[np.bool_]:
    """Returns (n·h·w,) whether a position is on its image's grid."""
    images, height, width = shape
    start = np.minimum((offsets * distance).astype(np.int64), distance - 1)
    rows = np.arange(height)[None, :] % distance == np.minimum(start[:, :1], height - 1)
    columns = np.arange(width)[None, :] % distance == np.minimum(start[:, 1:], width - 1)
    on_grid: NDArray[np.bool_] = (rows[:, :, None] & columns[:, None, :]).reshape(images * height * width)
    return on_grid


def _groups(places: Places, by: NDArray[np.int64]) -> list[Places]:
    """Returns places with equal values, by ascending value, each group in the order of the places."""
    order = np.argsort(by, kind="stable")
    return [group for group in np.split(places[order], np.flatnonzero(np.diff(by[order])) + 1) if len(group)]


def _of_class(places: Places, count: int, failed: NDArray[np.bool_], hard: float, size: int) -> list[Places]:
    """Returns so many places of a class, in the order of which they are drawn, image by image."""
    of_images = _groups(places, places // size)
    found = []
    for own, number in zip(of_images, even_shares([len(each) for each in of_images], count), strict=True):
        difficult, easy = own[failed[own]], own[~failed[own]]
        few = min(len(difficult), max(round(hard * number), number - len(easy)))
        found += [difficult[:few], easy[: number - few]]
    return found
