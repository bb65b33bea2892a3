"""Blocks of images: decoded, made square, and written to their place in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from coretune.data.resize import square
from coretune.errors import StorageError, UnfitError

if TYPE_CHECKING:  # a child starts in half the time without the catalog
    from coretune.data.source import Source

BLOCK = 32
"""Images of a block: few enough that progress is seen and a kill loses little, enough that a message costs nothing."""


class Unread(NamedTuple):
    """An image that cannot be read.

    Attributes:
        image: Its index.
        reason: Its name and why.
    """

    image: int
    reason: str


class Done(NamedTuple):
    """A block that is written, but for its images that cannot be read."""

    block: int
    unread: tuple[Unread, ...]


@dataclass(frozen=True)
class Target:
    """A file of n square images of 3 bytes a pixel, one after the other, and how images become square.

    Attributes:
        path: The file, which is there.
        images: n.
        side: In pixels.
        crop: Whether the centre square is cut.
    """

    path: str
    images: int
    side: int
    crop: bool

    @property
    def bytes_per_image(self) -> int:
        """Bytes of one image."""
        return self.side * self.side * 3

    @property
    def blocks(self) -> int:
        """Number of blocks; the last one may be shorter."""
        return -(-self.images // BLOCK)

    def members(self, block: int) -> range:
        """Returns the indices of a block's images."""
        return range(block * BLOCK, min((block + 1) * BLOCK, self.images))

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Opens the file for writing, while the block of code runs.

        Raises:
            OSError: It cannot be opened.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def write_block(source: Source, target: Target, descriptor: int, block: int) -> Done:
    """Writes the images of a block to their places.

    Args:
        source: The images.
        target: Where they go.
        descriptor: The file, opened.
        block: Which.

    Returns:
        What cannot be read, whatever machine tries: that is a fault of the file's content.

    Raises:
        StorageError: An image cannot be read for a fault of the machine, which may pass: no permission, a lost disk.
        OSError: The file cannot be written.
    """
    unread = []
    for index in target.members(block):
        try:
            image = square(source.image(index), target.side, crop=target.crop)
        except StorageError:
            raise
        except UnfitError as error:
            unread.append(Unread(index, str(error)))
        except OSError as error:
            raise StorageError(f"{source.names[index]}: cannot be read: {error.strerror or error}") from error
        else:
            _write_at(descriptor, image.tobytes(), index * target.bytes_per_image)
    return Done(block, tuple(unread))


def in_threads(source: Source, target: Target, blocks: Iterable[int], threads: int) -> Iterator[Done]:
    """Writes blocks with a few threads of this process, or without any, and yields each in their order.

    Raises:
        StorageError: As in `write_block`.
        OSError: As in `write_block`.
    """
    with target.opened() as descriptor:
        if threads == 1:
            yield from (write_block(source, target, descriptor, block) for block in blocks)
            return
        pool = ThreadPoolExecutor(max_workers=threads)
        try:
            yield from pool.map(lambda block: write_block(source, target, descriptor, block), blocks)
        finally:
            pool.shutdown(cancel_futures=True)


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    # Not through a writable map: there a full disk is a SIGBUS, here it is an OSError.
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
