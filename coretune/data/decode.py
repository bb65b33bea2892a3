"""From an image file of any kind to RGB, 8 bits a channel, upright: what people see when they open it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from coretune.errors import UnfitError

DECODING = "pillow/1"
"""Raised when a file's pixels come out otherwise than before."""

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""In lower case; a file's own may be in any."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation; 1 is upright."""


def decode(path: Path, name: str) -> NDArray[np.uint8]:
    """Reads an image file as (H, W, 3) RGB.

    Rotated as its EXIF data say; transparent parts on white; grey repeated; palettes and CMYK converted; 16-bit and
    floating-point (0 to 1) grey scaled to 8 bits; of an animation the first frame.

    Args:
        path: The file.
        name: What a message calls it.

    Raises:
        UnfitError: It cannot be read: truncated, corrupt, no image, too large to be true.
    """
    try:
        with Image.open(path) as file:
            file.load()
            return _rgb(_upright(file))
    except Exception as error:  # a decoder may raise anything on a broken file
        raise UnfitError(f"{name}: {_resemblance(path) or _reason(error)}") from error


def _upright(image: Image.Image) -> Image.Image:
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1  # the pixels are whole: broken metadata turn nothing
    return value if isinstance(value, int) else 1


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        grey = _eight_bits(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return np.asarray(image.convert("RGB"))


def _eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scales 16-bit integers, or floating-point numbers from 0 to 1, to 0..255."""
    exact = values.astype(np.float64)
    top = 1.0 if np.issubdtype(values.dtype, np.floating) else 65535.0
    if not (np.isfinite(exact).all() and exact.min() >= 0 and exact.max() <= top):
        raise ValueError(f"grey values from {exact.min():g} to {exact.max():g}, of which 0 to {top:g} are understood")
    return np.round(exact * (255 / top)).astype(np.uint8)


def _resemblance(path: Path) -> str:
    """Returns what a file that is no image looks like, or nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return ""  # the first attempt to read it already says why
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image; fetch it with `git lfs pull`"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page, not an image"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
