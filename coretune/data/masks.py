"""Images with a mask each, which says the class of every pixel: what semantic segmentation is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coretune.data.decode import HEAD, head_of, read_image
from coretune.errors import UnfitError
from coretune.spec.wording import some

VOID = 255
"""The value of pixels that are of no class: borders, and what the annotators left out."""

MASKING = "mask/1"
"""Raised when a mask file's values come out otherwise than before."""

INDEXED = ("P", "L", "1")
"""Modes of images whose pixels are one number of at most 8 bits."""

LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
"""Formats whose pixels are not what was written."""

SHALLOW = {2: 3, 4: 15}
"""Largest value of a grey PNG file by its bits a pixel, where these are fewer than 8."""

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@runtime_checkable
class MaskSource(Protocol):
    """Images with masks, readable one by one. Built as `MaskSource(path: Path | None, params: Frozen)`.

    Building one may list files but decodes nothing.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes: a pixel of value c is of class c; `VOID` is none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the N images: unique, and the same wherever the data lie."""

    @property
    def parts(self) -> NDArray[np.int8]:
        """(N,) official part of each image: TRAIN, VALIDATION, TEST, or UNDECIDED."""

    @property
    def decoding(self) -> str:
        """Name and version of what images, masks and parts are made of; a part of the pack's key."""

    def files(self) -> list[tuple[str, Path]]:
        """Returns the files behind images and masks, with their relative names: what the fingerprint is taken of."""

    def size(self, index: int) -> tuple[int, int]:
        """Returns height and width of an image, of which no pixel is decoded; zeros where they cannot be read."""

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It cannot be read; the message is its name and why.
        """

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Returns the values of one mask, (H, W).

        Raises:
            UnfitError: It cannot be read; the message is its name and why.
        """


def absent_of(source: MaskSource) -> tuple[int, ...]:
    """Returns the images of which a file is known not to be there, before any is read.

    A source that knows has an attribute `absent`, a tuple of indices; others need not have it.
    """
    absent = getattr(source, "absent", ())
    return absent if isinstance(absent, tuple) else ()


def root_of(source: MaskSource) -> Path | None:
    """Returns what the names of files in a source's messages are relative to, its attribute `root`, if it has one."""
    root = getattr(source, "root", None)
    return root if isinstance(root, Path) else None


def read_pair(source: MaskSource, index: int) -> Pair:
    """Returns an image, (H, W, 3) RGB, and its mask, (H, W), whose values are classes or `VOID`.

    Raises:
        UnfitError: One of them cannot be read, they differ in size, or a value is no class; all that is wrong.
        StorageError: The machine cannot read them, now.
    """
    wrong, found = [], []
    for read in (source.image, source.mask):
        try:
            found.append(read(index))
        except UnfitError as error:
            wrong.append(str(error))
    if not wrong:
        wrong = _misfits(source, index, *found)
    if wrong:
        raise UnfitError("; ".join(dict.fromkeys(wrong)))
    return found[0], found[1]


def _misfits(source: MaskSource, index: int, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[str]:
    named = getattr(source, "mask_name", None)
    name, wrong = str(named(index)) if callable(named) else source.names[index], list[str]()
    if image.shape[:2] != mask.shape:
        wrong.append(f"{name}: the mask is {_by(mask)} pixels, the image {_by(image)}")
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=VOID + 1))
    beyond = [int(value) for value in values if len(source.classes) <= value < VOID]
    if beyond:
        wrong.append(
            f"{name}: the mask has {'value' if len(beyond) == 1 else 'values'} {some([str(v) for v in beyond])}; "
            f"expected 0 to {len(source.classes) - 1}, or {VOID} for void"
        )
    return wrong


def _by(array: NDArray[np.uint8]) -> str:
    return f"{array.shape[1]}×{array.shape[0]}"


def decode_mask(source: Path | bytes, name: str) -> NDArray[np.uint8]:
    """Reads the values of a mask: of an indexed image its indices, of a grey one its grey values, of 8 bits at most.

    Args:
        source: The file, or its content.
        name: What a message calls it.

    Returns:
        (H, W) values.

    Raises:
        UnfitError: It cannot be read, has several numbers a pixel (colours are not classes), or is compressed with
            loss.
        StorageError: The machine cannot read it, now.
    """
    largest = SHALLOW.get(_grey_depth(source[:HEAD] if isinstance(source, bytes) else head_of(source) or b""))
    values = read_image(source, name, lambda image: _values(image, name))
    return values if largest is None else values // np.uint8(VOID // largest)  # Pillow stretches them to 8 bits


def _grey_depth(head: bytes) -> int:
    """Returns the bits a pixel of a grey PNG file, by its first bytes; 0 of any other."""
    grey = head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) > 25 and head[25] == 0
    return head[24] if grey else 0


def _values(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.format in LOSSY:
        raise UnfitError(
            f"{name}: a mask compressed with loss ({image.format}): its values are not the classes; use PNG"
        )
    if image.mode not in INDEXED:
        raise UnfitError(
            f"{name}: a mask of mode {image.mode}; expected one number a pixel, of 8 bits: an indexed (palette) or a "
            "grey image whose values are classes"
        )
    return np.asarray(image).astype(np.uint8)
