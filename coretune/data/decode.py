"""From an image file of any kind, on disk or in memory, to RGB, 8 bits a channel, upright: what people see."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from coretune.errors import StorageError, UnfitError
from coretune.results.files import stand_in

DECODING = "pillow/1"
"""Raised when a file's pixels come out otherwise than before."""

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""In lower case; a file's own may be in any."""

HEAD = 256
"""Bytes that tell what a file is that is not what was wanted."""

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

SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap height and width."""

Taken = TypeVar("Taken")


def decode(path: Path, name: str) -> NDArray[np.uint8]:
    """Reads an image file as (H, W, 3) RGB.

    Rotated as its EXIF data say; transparent parts on white; grey repeated; palettes and CMYK converted; 16-bit and
    floating-point (0 to 1) grey scaled to 8 bits; of an animation the first frame.

    Args:
        path: The file.
        name: What a message calls it.

    Raises:
        UnfitError: It cannot be read: truncated, corrupt, no image, too large to be true.
        StorageError: The machine cannot read it, now: it is gone, not permitted, or too large for the memory.
    """
    return read_image(path, name, _decoded)


def decode_bytes(content: bytes, name: str) -> NDArray[np.uint8]:
    """Reads the content of an image file as (H, W, 3) RGB, by the rules of `decode`.

    Args:
        content: The whole file.
        name: What a message calls it.

    Raises:
        UnfitError: It cannot be read, as in `decode`.
        StorageError: The machine cannot read it, now, as in `decode`.
    """
    return read_image(content, name, _decoded)


def resemblance(head: bytes, wanted: str) -> str:
    """Returns what a file that is not what was wanted looks like, or nothing.

    Args:
        head: Its first 256 bytes, or fewer if it is shorter.
        wanted: What it should be, with an article.
    """
    words = {
        "empty": "an empty file",
        "pointer": f"a Git LFS pointer, not {wanted}; fetch it with `git lfs pull`",
        "page": f"an HTML page, not {wanted}",
    }
    found = stand_in(head)
    return words[found] if found is not None else ""


def head_of(path: Path) -> bytes | None:
    """Returns the first 256 bytes of a file, or None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return None


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Returns height and width of an upright image by its header; zeros where it has none that can be read.

    Raises:
        StorageError: The machine cannot read it, now.
    """
    try:
        return read_image(source, "", _size, pixels=False)
    except StorageError:
        raise
    except UnfitError:
        return 0, 0  # reading the pixels will say what is wrong


def _size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if _orientation(image) in SIDEWAYS else (height, width)


def read_image(source: Path | bytes, name: str, take: Callable[[Image.Image], Taken], *, pixels: bool = True) -> Taken:
    """Opens an image file, and returns what is taken of it.

    Args:
        source: The file, or its content.
        name: What a message calls it.
        take: What is done with it while it is open.
        pixels: Whether they are loaded before.

    Raises:
        UnfitError: It cannot be read: truncated, corrupt, no image, too large to be true.
        StorageError: The machine cannot read it, now: it is gone, not permitted, or too large for the memory.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            if pixels:
                file.load()
            return take(file)
    except MemoryError as error:
        raise StorageError(f"{name}: there is not enough memory to decode it") from error
    except UnfitError:
        raise
    except Exception as error:  # a decoder may raise anything on a broken file
        if isinstance(error, OSError) and error.strerror:
            raise StorageError(f"{name}: {error.strerror}") from error
        head = source[:HEAD] if isinstance(source, bytes) else head_of(source)
        # Where nothing can be read, the first attempt already says why.
        looks_like = "" if head is None else resemblance(head, "an image")
        raise UnfitError(f"{name}: {looks_like or _reason(error)}") from error


def _decoded(image: Image.Image) -> NDArray[np.uint8]:
    return _rgb(_upright(image))


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


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    return str(error) or type(error).__name__
