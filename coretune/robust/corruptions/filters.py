"""Filters of square images as matrices: what is separable is M x Mᵀ, whatever its radius and border."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Border = Literal["edge", "mirror", "reflect"]


def border_index(places: NDArray[np.int64], side: int, border: Border) -> NDArray[np.int64]:
    """Returns which pixel stands at each place, also beyond the border, in [0, side).

    Args:
        places: Any integers.
        side: Pixels of the line.
        border: `edge` repeats the last one (a a | a b c), `mirror` reflects about the border (b a | a b c), `reflect`
            about the centre of the last pixel (c b | a b c, as OpenCV's REFLECT_101).
    """
    if border == "edge" or side == 1:
        return places.clip(0, side - 1)
    if border == "mirror":
        places = places % (2 * side)
        return np.where(places < side, places, 2 * side - 1 - places)
    places = places % (2 * side - 2)
    return np.where(places < side, places, 2 * side - 2 - places)


def gaussian_matrix(side: int, sigma: float, border: Border, truncate: float) -> NDArray[np.float64]:
    """Returns the Gaussian filter of a line as a matrix (side, side), as scipy.ndimage.gaussian_filter1d computes it.

    Args:
        side: Pixels of the line.
        sigma: Standard deviation in pixels; 0 is the identity.
        border: How the line goes on.
        truncate: Radius of the kernel in standard deviations.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return np.eye(side)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    return _matrix(side, kernel / kernel.sum(), offsets, border)


def zoom_matrix(side: int, factor: float) -> NDArray[np.float64]:
    """Returns the zoom into a line's centre by linear interpolation as a matrix (side, side).

    The ⌈side / factor⌉ pixels in the middle are stretched to round(⌈side / factor⌉ · factor) pixels, end to end, and
    the middle of that is kept: scipy.ndimage.zoom(order=1) of a crop, trimmed.
    """
    inner = math.ceil(side / factor)
    outer = round(inner * factor)
    where = (outer - side) // 2 + np.arange(side)
    place = where * ((inner - 1) / max(outer - 1, 1))
    low = np.floor(place).astype(np.int64).clip(0, max(inner - 2, 0))
    share = place - low
    matrix = np.zeros((side, side))
    start, rows = (side - inner) // 2, np.arange(side)
    matrix[rows, start + low] = 1 - share
    matrix[rows, start + np.minimum(low + 1, inner - 1)] += share
    return matrix


def separable(images: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """Returns M x Mᵀ of each channel of images (n, c, side, side).

    Computed in float64, where what the batch and the device change is too little to reach the next 8-bit step.
    """
    found = torch.from_numpy(matrix).to(images.device)
    return (found @ images.double() @ found.T).to(images.dtype)


def bordered(images: Tensor, width: int, border: Border) -> Tensor:
    """Returns images (n, c, side, side) with a border of some pixels, (n, c, side + 2 width, side + 2 width)."""
    side = images.shape[-1]
    index = torch.from_numpy(border_index(np.arange(-width, side + width), side, border)).to(images.device)
    return images[..., index, :][..., index]


def quantised(images: Tensor) -> Tensor:
    """Returns values in [0, 1] as multiples of 1/255, rounded down, as a cast to uint8 does.

    A thousandth of a step is added first: what is a multiple already must not lose a step to float32.
    """
    return (images.clamp(0, 1) * 255 + 1e-3).floor() / 255


def _matrix(side: int, kernel: NDArray[np.float64], offsets: NDArray[np.int64], border: Border) -> NDArray[np.float64]:
    matrix = np.zeros((side, side))
    rows = np.arange(side)
    for weight, offset in zip(kernel, offsets, strict=True):
        np.add.at(matrix, (rows, border_index(rows + offset, side, border)), weight)
    return matrix
