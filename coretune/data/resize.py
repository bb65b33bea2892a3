"""From an image of any shape to a square of fixed size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RESIZING = "bicubic/1"
"""Filter and version; a part of every pack's key."""


def square(image: NDArray[np.uint8], size: int, *, crop: bool) -> NDArray[np.uint8]:
    """Resizes an image to size×size with PIL's bicubic filter, antialiased when it shrinks.

    Args:
        image: (H, W, 3) RGB.
        size: Side of the result in pixels.
        crop: Whether the centre square is cut, which is resizing the shorter side and cutting the centre in one
            step; else the whole image is squeezed into the square.

    Returns:
        (size, size, 3); the image itself if it has that size.
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    side = min(height, width)
    left, top = ((width - side) / 2, (height - side) / 2) if crop else (0.0, 0.0)
    box = (left, top, left + side, top + side) if crop else (0.0, 0.0, float(width), float(height))
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)
